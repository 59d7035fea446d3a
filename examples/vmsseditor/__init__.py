"""vmsseditor: a scale set on a local web page. `python examples/vmsseditor --emulator` starts it.

`desk` is what the editor knows; `actions` is what can be done, `rollout` the upgrade that is under way; `messages`
checks what a page sends, `views` turns models and events into what it shows; `security` says who may ask; `app` is the
web application over all that, and `serving` its server.
"""
