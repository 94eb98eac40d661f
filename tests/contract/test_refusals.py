"""Refusals."""

from typing import Final

from contract.asking import Answer, Service
from contract.emulated import alone
from contract.seeing import joined, number, rates, said
from contract.stating import Finding, NotTried, found, guess, promise
from contract.test_sessions import UNKNOWN

ERRORS: Final = "Errors"
WRONG: Final = "not-the-token-of-anybody"


def is_refusal(answer: Answer, status: int) -> bool:
    error = answer.json
    return (
        answer.status == status
        and error["error"] is True
        and error["status"] == status
        and isinstance(error["message"], str)
    )


async def refused(service: Service, status: int) -> Answer:
    """Return an answer that should be of *status*."""
    if status == 401:
        return await service.ask("GET", "/v1/sessions", token=WRONG)
    return await service.get(UNKNOWN if status == 404 else "/v1/sessions?limit=0")


@promise(ERRORS, "a {} has error, status and message", [400, 401, 404])
async def test_body(service: Service, case: int) -> Finding:
    answer = await refused(service, case)
    return found(is_refusal(answer, case), answer.seen)


@promise("Rate limits", "a request over the limit is answered 429, with that body")
async def test_over_limit(service: Service) -> Finding:
    if not service.is_ours:
        raise NotTried("this would use up the rate limit of the account")
    async with alone(rate_limit=(2, 60.0)) as asker:
        for _ in range(3):
            answer = await asker.get("/v1/sessions")
    return found(is_refusal(answer, 429), answer.seen, rates(answer.headers))


@guess(
    "a 401 comes before everything else", "an unknown path with a wrong token is 401"
)
async def test_token_first(service: Service) -> Finding:
    answer = await service.ask("GET", "/v1/unheard", token=WRONG)
    return found(answer.status == 401, answer.seen)


@guess("costs nothing and has no rate headers", "a 401 has none")
async def test_token_is_free(service: Service) -> Finding:
    answer = await refused(service, 401)
    there = any(name.lower().startswith("ratelimit-") for name in answer.headers)
    return found(not there, number(answer.status), rates(answer.headers))


@guess("also those to unknown routes", "an unknown path is a 404 with rate headers")
async def test_unknown_route(service: Service) -> Finding:
    answer = await service.get("/v1/unheard")
    holds = is_refusal(answer, 404) and "RateLimit-Limit" in answer.headers
    return found(holds, answer.seen, rates(answer.headers))


@promise(ERRORS, "answers are JSON, and say so")
async def test_content_type(service: Service) -> Finding:
    answers = [await service.get("/v1/sessions", limit=1), await refused(service, 404)]
    kinds = {
        answer.headers.get("Content-Type", "").partition(";")[0] for answer in answers
    }
    holds = kinds == {"application/json"}
    kind = said("application/json") if holds else said("another type")
    return found(holds, joined(number(answers[0].status), kind))
