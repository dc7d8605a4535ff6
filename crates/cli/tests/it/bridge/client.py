"""Calls a cabinet with its generated client: values to the last digit, streams, errors, and what is wrong before anything is sent."""

import math
import sys
import threading

sys.dont_write_bytecode = True
sys.path.insert(0, sys.argv[1])
import cabinet as c
import convoke_http as http

client = c.CabinetClient(sys.argv[2], timeout_s=30.0)


def raises(kind, work):
    try:
        work()
    except kind as error:
        return error
    raise AssertionError(f"{kind.__name__} was not raised")


def everything(**other):
    values = dict(
        large=2**64 - 1,
        larger=2**128 - 1,
        negative=-(2**127),
        small=-128,
        text="Grüße, 世界 \U0001f600 \"\\\n\r\t\x7f\u2028",
        letter="ß",
        ratio=0.1,
        yes=True,
        bytes_=bytes(range(256)),
        digest=b"\x00\xff\x10\x20",
        places=[-(2**31), 2**31 - 1],
        by_number={65535: "most", 0: ""},
        by_colour={c.Colour.DarkRed: True, c.Colour.Blue: False},
        set=["a", "b"],
        pair=(255, "pair"),
        within=http.Duration(2**64 - 1, 999_999_999),
        outcome=http.Err("no"),
        kind=c.Kind.Fancy,
        from_=2**53 + 1,
        point=(1e300, -(2**63)),
        nothing=None,
        unit=None,
        tree=c.Tree("root", [c.Tree("leaf", [])]),
        choices=[
            c.ChoiceEmpty(),
            c.ChoiceOne(7),
            c.ChoiceTwo(1, "two"),
            c.ChoiceNamed(from_="here", to=4),
            c.ChoiceNamed(from_="nowhere"),
        ],
    )
    values.update(other)
    return c.Everything(**values)


# What is sent comes back, and what was left out with its default.
sent = everything()
got = client.echo(sent)
assert got == everything(added_later=0), got
assert got.larger == 340282366920938463463374607431768211455
assert client.echo(everything(maybe="é", added_later=9, outcome=http.Ok(3))).maybe == "é"
assert isinstance(got.choices[1], c.Choice)
assert got.within.seconds > 1e19 and http.Duration.of(1.5) == http.Duration(1, 500_000_000)

# Wrong values are told before anything is sent, with the path to them.
for other, kind, words in [
    (dict(large=2**64), ValueError, "request.large"),
    (dict(large=-1), ValueError, "request.large"),
    (dict(large=1.0), TypeError, "request.large"),
    (dict(yes=1), TypeError, "request.yes"),
    (dict(ratio=math.nan), ValueError, "request.ratio"),
    (dict(letter="ab"), ValueError, "request.letter"),
    (dict(digest=b"123"), ValueError, "request.digest"),
    (dict(text=None), TypeError, "request.text"),
    (dict(text="\ud800"), ValueError, "half a character"),
    (dict(tree=c.Tree("a", [c.Tree("b", [7])])), TypeError, "request.tree.below[0].below[0]"),
    (dict(choices=[c.ChoiceTwo(256, "")]), ValueError, "request.choices[0]"),
    (dict(kind="Plain"), TypeError, "request.kind"),
    (dict(by_number={70000: ""}), ValueError, "request.by_number"),
]:
    error = raises(kind, lambda: client.echo(everything(**other)))
    assert words in str(error), (other, error)

# Answers and the method's own errors.
assert client.open(c.Drawer(3, "Löffel")) == "Löffel in 3"
locked = raises(c.CabinetErrorRaised, lambda: client.open(c.Drawer(9, "")))
assert locked.error == c.CabinetErrorLocked() and locked.code == "app-error" and locked.status == 422
none = raises(c.CabinetErrorRaised, lambda: client.open(c.Drawer(4, "")))
assert none.error == c.CabinetErrorNoDrawer(asked=4, highest=2**128 - 1), none.error

# Streams, their ends and their errors.
assert list(client.count(1000)) == list(range(1000))
assert list(client.count(0)) == []
seen = []
broke = raises(c.CabinetErrorRaised, lambda: seen.extend(iter(client.count(100_001))))
assert broke.error == c.CabinetErrorLocked()
early = raises(c.CabinetErrorRaised, lambda: client.count(2**64 - 1))
assert early.error == c.CabinetErrorLocked()
drops = client.drip()
assert next(drops) == 1
drops.close()

# Problems, with what programs look at.
late = raises(http.OutcomeUnknown, lambda: client.wait(timeout_s=0.2))
assert late.may_have_run and "ask again" in late.what_to_do, late
assert 0 < client.left(timeout_s=5.0) <= 5000
nobody = raises(http.Unavailable, lambda: client.who(selector="zone = nowhere"))
assert not nobody.may_have_run and nobody.retry_after_s, nobody
wrong = raises(http.BadRequest, lambda: client.who(selector="zone ="))
assert "selector" in wrong.detail, wrong
raises(http.Forbidden, client.pass_)
stranger = c.CabinetClient(sys.argv[2])
stranger._CabinetClient__open = http.Method("Cabinet", "opn", http.UNIT, http.UNIT, http.UNIT)
missing = raises(http.NotFound, lambda: stranger.open(None))
assert "open" in missing.what_to_do, missing
gone = raises(http.Unreachable, c.CabinetClient("unix:/nowhere/api.sock").who)
assert not gone.may_have_run
raises(ValueError, lambda: c.CabinetClient("node.example"))

# One client, several threads.
answers = []
threads = [threading.Thread(target=lambda: answers.append(client.who())) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert len(set(answers)) == 1 and len(answers) == 8, answers
print("all is well")
