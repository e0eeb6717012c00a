"""What is done to whom, and when: everything random of a round comes from here, from (seed, round), so that a round can be
played again alone."""
import random

from targets import HOST, OURS, POSTGRES

CREATE, DELETE = "create", "delete"
EARLY = 0.15  # instants begin this share of the phase's usual time before its request …
LATE = 1.05   # … and end this much after it, so that the edges are hit too

# How long a process is stopped, in seconds: shorter than a lease (2.5 s), around lease plus grace (4.5 s), longer than a
# leadership (8 s). A liveness probe (30 s) would end a container that is stopped for much longer.
HOLDS = ((0.2, 2.4), (2.4, 5.0), (5.0, 8.0), (8.0, 12.0))
HOLD_MAX = 12.0

# The fixed rounds of tests/run: each process is killed once, and two are stopped for longer than their lease. Of each fault:
# target, phase, instant as a share of the phase, seconds stopped (0: killed).
SHORT = (
    (("storage-agent", CREATE, 0.02, 0), (POSTGRES, DELETE, 0.05, 0)),
    (("watcher", CREATE, 0.05, 0), (HOST, DELETE, 0.05, 0)),
    (("reconciler", CREATE, 0.02, 0), ("bus", DELETE, 0.02, 0)),
    (("bus", CREATE, 0.05, 5.5), ("reconciler", DELETE, 0.02, 5.5)),
)


class Step:
    """One fault. hold 0: killed. share: of the phase's usual time; negative is before the request."""

    def __init__(self, target, phase, hold, share, which=0):
        self.target, self.phase, self.hold, self.share, self.which = target, phase, hold, share, which

    def __str__(self):
        done = f"stopped {self.hold:.1f} s" if self.hold else "killed"
        return f"{self.target} {done} at {self.share * 100:.0f} % of {self.phase}"


class Plan:
    def __init__(self, steps, again):
        self.steps = steps  # in no order
        self.again = again  # the name is used again as soon as the object is gone

    def of(self, phase):
        return [step for step in self.steps if step.phase == phase]

    def kills(self):
        """{target: how often it is killed}"""
        found = {}
        for step in self.steps:
            if not step.hold:
                found[step.target] = found.get(step.target, 0) + 1
        return found

    def touches(self, *targets):
        return any(step.target in targets for step in self.steps)

    def __str__(self):
        return "; ".join(map(str, self.steps)) + ("; name used again" if self.again else "")


def fixed(number):
    return Plan([Step(target, phase, hold, share) for target, phase, share, hold in SHORT[number - 1]], False)


def drawn(seed, number, options):
    """options: targets, kind (kill, stop or None for both), phases, at (a share or None), hold (seconds or None), at_once,
    again."""
    chance = random.Random(f"{seed}:{number}")
    steps = []
    for phase in options.phases:
        count = min(options.at_once, len(options.targets))
        # All targets get their turn: in round n the n-th, and the phases are out of step with each other.
        turn = (number - 1) * count
        if phase == DELETE:
            turn += len(options.targets) // 2 + (number - 1) // len(options.targets)
        for i in range(count):
            target = options.targets[(turn + i) % len(options.targets)]
            kind = options.kind or chance.choice(("kill", "stop"))
            low, high = chance.choice(HOLDS)
            hold = chance.uniform(low, high)
            # The whole phase; but what our programs write is written early in it, so half of the instants lie there.
            share = chance.uniform(-EARLY, chance.choice((0.25, LATE)))
            share = share if options.at is None else options.at
            hold = 0 if kind == "kill" else options.hold or hold
            steps.append(Step(target, phase, hold, share, chance.randrange(4)))
    again = chance.random() < 0.25 if options.again is None else options.again
    return Plan(steps, again)


ALL = OURS + (POSTGRES, HOST)
