"""What a policy sees first in environments of open questions."""

from __future__ import annotations

import re
from collections.abc import Mapping

from rlvr_cli.environments.environment import Message, Task


def opening(task: Task, template: str, values: Mapping[str, str]) -> list[Message]:
    """What comes before the task's last message, such as a system message, and the template filled in.

    The source's own template is not used. In one pass: a document that says {question} is left as it is.
    """
    names = "|".join(map(re.escape, values))
    content = re.sub(rf"\{{({names})\}}", lambda place: values[place[1]], template)
    return [*task.prompt[:-1], {"role": "user", "content": content}]
