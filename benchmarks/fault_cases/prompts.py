"""The model is not asked as it was trained to be, or not given the room to answer."""

from __future__ import annotations

from fault_cases import Place, case

TURNS = (
    "{% for m in messages %}[{{ m['role'] }}] {{ m['content'] }}{{ eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}[assistant] {% endif %}"
)


def template(place: Place, text: str) -> list[str]:
    return [f"model.chat_template={place.write('chat.jinja', text)}", "data.train.chat=always"]


@case("the chat template is that of another model", r"not trained on this prompt.*model\.chat_template")
def wrong_template(place: Place) -> list[str]:
    return template(place, TURNS)


@case("the chat template does not open the answer", r"do not open the answer.*chat template")
def missing_generation_prompt(place: Place) -> list[str]:
    return template(place, TURNS.replace("add_generation_prompt", "false"))


@case("an end token stands at the end of every prompt", r"end with '<eos>', which ends a response")
def stray_end_token(place: Place) -> list[str]:
    return ["data.train.prompt='{prompt}<eos>'"]


@case("the prompt asks in words that the model never saw", r"not trained on this prompt.*data\.train\.prompt")
def wrong_prompt(place: Place) -> list[str]:
    return ["data.train.prompt='What is {prompt}?'"]


@case("responses are cut before their answer", r"cut (off )?at rollout\.max_tokens")
def truncation(place: Place) -> list[str]:
    return ["rollout.max_tokens=16"]


@case("all samples of a group are the same", r"the same.*raise rollout\.temperature")
def no_variety(place: Place) -> list[str]:
    return ["rollout.temperature=0.001", "preflight.enabled=true"]
