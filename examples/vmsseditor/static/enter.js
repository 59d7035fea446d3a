// Keep the key where only pages of this origin find it, and forget the link with its token.
localStorage.setItem("vmsseditor-key", document.querySelector("meta[name=vmsseditor-key]").content);
location.replace("/");
