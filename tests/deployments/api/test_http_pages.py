"""Pages over HTTP: of each call that gives a list, what a wrong token is told, and that pages are logged as answers."""

from __future__ import annotations

from recsys.serving import page_tokens

CALLS = {
    "GET /v1/users/u/recommendations": {"k": 5},
    "GET /v1/items/sea-1/similar": {"k": 5},
    "POST /v1/recommendations": {"k": 5, "user_id": "u"},
    "POST /v1/search": {"k": 5, "text": "sea wave"},
}


async def ask(http, call, page=None, **more):
    method, path = call.split(" ")
    given = CALLS[call] | more | ({} if page is None else {"page": page})
    return await http.request(method, path, **({"params": given} if method == "GET" else {"json": given}))


async def test_each_list_comes_in_pages(make_http, subtests):
    """Without repeats; without `page` there is no token."""
    http = await make_http()
    for call in CALLS:
        with subtests.test(call):
            assert "next_token" not in (await ask(http, call)).json()
            page, seen = "first", []
            for _ in range(4):
                answer = await ask(http, call, page)
                assert answer.status_code == 200, answer.text
                seen += [item["item_id"] for item in answer.json()["items"]]
                page = answer.json()["next_token"]
                assert len(page) <= 300
            assert len(seen) == len(set(seen)) == 20


async def test_a_token_of_another_query_is_refused(make_http, subtests):
    http = await make_http()
    for call in CALLS:
        with subtests.test(call):
            token = (await ask(http, call, "first")).json()["next_token"]
            for more in ({"explain": True}, {"k": 7}):
                assert (await ask(http, call, token, **more)).status_code == 200
            condition = {"must": [{"key": "topic", "eq": "sea"}]}
            filtered = {"filter": condition if call.startswith("POST") else '{"must": [{"key": "topic", "eq": "sea"}]}'}
            answer = await ask(http, call, token, **filtered)
            assert (answer.status_code, answer.json()["code"], answer.json()["field"]) == (422, "page_differs", "page")


async def test_a_token_that_is_none_or_has_expired_is_told_so(make_http, monkeypatch):
    http = await make_http()
    call = "GET /v1/users/u/recommendations"
    for wrong in ("second", "a" * 290, "é"):
        answer = await ask(http, call, wrong)
        assert (answer.status_code, answer.json()["field"]) == (422, "page")
    assert (await ask(http, call, "a" * 301)).status_code == 422
    monkeypatch.setattr("recsys.serving.paging.LIVES_S", -1)
    token = (await ask(http, call, "first")).json()["next_token"]
    answer = await ask(http, call, token)
    assert (answer.status_code, answer.json()["code"]) == (410, "page_expired")
    assert page_tokens.LIVES_S == 1800


async def test_pages_are_logged_like_other_answers(make_http):
    """Each is an answer of its own."""
    http = await make_http()
    first = await ask(http, "POST /v1/search", "first")
    await ask(http, "POST /v1/search", first.json()["next_token"])
    assert len(http.world.gateway.answers) == 2
