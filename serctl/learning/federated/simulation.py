"""All parties in this process: the same apps and rounds as over a network, for trials and for many seeds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flwr.app import Context, RecordDict

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from flwr.app import Message
    from flwr.clientapp import ClientApp


class LocalGrid:
    """Carries messages to apps in this process, one after the other.

    Args:
        apps: of each party, by the id of its node.
    """

    def __init__(self, apps: Mapping[int, ClientApp]) -> None:
        from flwr.supercore.task_identity import TaskIdentity

        TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = 1, 1, 1
        self.apps = dict(apps)
        self._replies: dict[str, Message] = {}

    def get_node_ids(self) -> list[int]:
        """Return the nodes of all parties."""
        return list(self.apps)

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        """Have each party answer its message."""
        return [self._answer(message) for message in messages]

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        """Return the replies to messages."""
        return [self._replies.pop(each) for each in list(message_ids) if each in self._replies]

    def _answer(self, message: Message) -> str:
        node = message.metadata.dst_node_id
        message.metadata.__dict__["_message_id"] = f"{len(self._replies)}-{node}-{id(message)}"
        self._replies[message.metadata.message_id] = _reply(self.apps[node], message, node)
        return message.metadata.message_id


def _reply(app: ClientApp, message: Message, node: int) -> Any:
    from flwr.app import Message
    from flwr.app.error import Error

    context = Context(run_id=1, node_id=node, node_config={}, state=RecordDict(), run_config={})
    try:
        return app(message=message, context=context)
    except Exception as error:  # noqa: BLE001 - as over a network, the server is told
        return Message(Error(code=0, reason=f"{type(error).__name__}: {error}"), reply_to=message)
