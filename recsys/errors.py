"""Everything that can go wrong, in one tree.

RecsysError
├── BadInput                 the caller's fault; names the field, the limit and the fix (HTTP 4xx)
│   ├── Conflict             a later write, or a higher version, is known; nothing was changed (409)
│   ├── NotFound             the one thing that was asked for does not exist (404)
│   └── TooLarge             a body, a batch or a file over its limit (413)
├── Denied                   the caller may not do this
│   ├── Unauthenticated      no API key, or one that is unknown or has expired (401)
│   └── Forbidden            the key does not have the scope (403)
├── Unavailable              a part is down or full; the same call may succeed later (503)
│   ├── Outdated             the version changed on the way; the same call again is answered from the new one (503)
│   └── Overloaded           more work is waiting than can be done in time (429)
│       └── RateLimited      one caller's key is over its rate (429)
├── PageExpired              the token of a page is too old; the list begins anew (410)
├── CallerGone               nobody waits for the answer any more
├── WrongHost                the request names another machine (421)
├── TooFewEvents             there is too little to learn from, or to judge by; nothing was trained
├── VersionError             an index version is missing, incomplete, corrupt or does not fit
│   └── Rewound              a shard holds changes that its log has lost; it must be loaded again
├── BackupError              a backup is missing, incomplete, damaged or does not fit
└── RuntimeFailure           a server that we start did not start, or is not ours to touch
"""

from __future__ import annotations


class RecsysError(Exception):
    """Base of all errors; `code` is stable and part of the API, the message says what to do."""

    code = "error"


class BadInput(RecsysError):
    """The input cannot be taken. `field` is where it stands, such as `events[3].timestamp`."""

    code = "bad_input"

    def __init__(self, message: str, *, field: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.field = field
        if code is not None:
            self.code = code

    def __reduce__(self) -> tuple[object, ...]:
        # Keyword-only arguments do not survive the default pickling of exceptions, and errors cross processes.
        return (_rebuild, (type(self), str(self), self.field, self.code))


def _rebuild(kind: type[BadInput], message: str, field: str | None, code: str) -> BadInput:
    return kind(message, field=field, code=code)


class Conflict(BadInput):
    code = "conflict"


class NotFound(BadInput):
    code = "not_found"


class TooLarge(BadInput):
    code = "too_large"


class Denied(RecsysError):
    """`challenge`: what the WWW-Authenticate header says (RFC 6750)."""

    challenge = 'Bearer realm="recsys"'


class Unauthenticated(Denied):
    code = "unauthenticated"

    def __init__(self, message: str, *, presented: bool = False) -> None:
        super().__init__(message)
        if presented:
            self.challenge += ', error="invalid_token"'


class Forbidden(Denied):
    code = "forbidden"

    def __init__(self, message: str, scope: str = "") -> None:
        super().__init__(message)
        self.challenge = f'Bearer realm="recsys", error="insufficient_scope", scope="{scope}"'


class Unavailable(RecsysError):
    """A dependency does not answer. `retry_after_s`: seconds after which a retry makes sense."""

    code = "unavailable"
    retry_after_s = 1


class Outdated(Unavailable):
    code = "outdated"


class Overloaded(Unavailable):
    code = "overloaded"


class RateLimited(Overloaded):
    code = "rate_limited"

    def __init__(self, message: str, retry_after_s: int = 1) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class PageExpired(RecsysError):
    code = "page_expired"


class CallerGone(RecsysError):
    code = "caller_gone"


class WrongHost(RecsysError):
    code = "wrong_host"


class TooFewEvents(RecsysError):
    code = "too_few_events"


class VersionError(RecsysError):
    code = "version_error"


class Rewound(VersionError):
    pass


class BackupError(RecsysError):
    code = "backup_error"


class RuntimeFailure(RecsysError):
    code = "runtime_failure"
