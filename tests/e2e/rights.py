#!/usr/bin/env python3
"""Who may do what: the tables of docs/security.md against the roles in the cluster, the API server's answers, and the audit log.

usage: rights.py roles | granted | nothing-else | refused | used AUDIT-LOG...

Needs kubectl with the hosting cluster's context in $HOST_CONTEXT, and the name of a plane in $PLANE. Prints each difference on
stderr; the exit code is 1 where there is one.
"""
import collections
import json
import os
import re
import subprocess
import sys

REPO = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SYSTEM = "kubeflex-system"
CLUSTER = "*"  # instead of a namespace
GROUPS = {
    "controlplanes": "tenancy.kflex.kubestellar.org",
    "deployments": "apps",
    "statefulsets": "apps",
    "jobs": "batch",
    "ingresses": "networking.k8s.io",
    "networkpolicies": "networking.k8s.io",
    "routes": "route.openshift.io",
    "postcreatehooks": "tenancy.kflex.kubestellar.org",
    "daemonsets": "apps",
    "replicasets": "apps",
    "tokenreviews": "authentication.k8s.io",
    "subjectaccessreviews": "authorization.k8s.io",
    "customresourcedefinitions": "apiextensions.k8s.io",
    "apiservices": "apiregistration.k8s.io",
    "leases": "coordination.k8s.io",
    "events": "events.k8s.io",
    "roles": "rbac.authorization.k8s.io",
    "rolebindings": "rbac.authorization.k8s.io",
    "clusterroles": "rbac.authorization.k8s.io",
    "clusterrolebindings": "rbac.authorization.k8s.io",
}
TYPES = ("k8s", "vcluster", "k3s", "ocm", "host", "external")

# account: "namespace:name"; resource with its subresource; name "*": all.
Right = collections.namedtuple("Right", "account where group resource name verb")

# What must not be, account by account: a question as `kubectl auth can-i` takes it. The tables say more; these are here by hand, so that
# whoever widens the table and the roles together meets them.
REFUSED = {
    "kubeflex-watcher": """
        create namespaces -A
        create services -A
        create secrets -A
        create deployments.apps -A
        patch deployments.apps -A
        delete namespaces -A
        delete secrets -A
        get secrets/kine-dsn -n PLANE
        get secrets/postgres-postgresql -n kubeflex-system
        create controlplanes -A
        delete controlplanes -A
        patch configmaps/kubeflex-config -n kubeflex-system
        update leases.coordination.k8s.io/other -n kubeflex-system
        get deployments.apps/coredns -n kube-system
        create pods -A
        get pods -A
        impersonate serviceaccounts -A""",
    "kubeflex-reconciler-k8s": """
        get secrets -A
        list secrets -A
        watch secrets -n PLANE
        get secrets/kine-dsn -n PLANE
        patch secrets/kine-dsn -n PLANE
        get secrets/postgres-postgresql -n kubeflex-system
        get secrets/kubeflex-storage-login -n kubeflex-system
        list secrets -n kubeflex-system
        delete secrets -n PLANE
        patch controlplanes -A
        delete controlplanes -A
        patch controlplanes/PLANE --subresource=status
        patch deployments.apps/coredns -n kube-system
        delete deployments.apps -n PLANE
        list namespaces
        create pods -n PLANE
        create pods --subresource=exec -n PLANE
        create jobs.batch -n PLANE
        patch configmaps/kubeflex-config -n kubeflex-system
        create roles.rbac.authorization.k8s.io -A
        create rolebindings.rbac.authorization.k8s.io -A
        create serviceaccounts --subresource=token -A
        create events.events.k8s.io -A""",
    "kubeflex-reconciler-host": """
        list secrets -A
        create clusterrolebindings.rbac.authorization.k8s.io
        bind clusterroles.rbac.authorization.k8s.io/cluster-admin
        impersonate users
        impersonate groups
        impersonate serviceaccounts/default -n kube-system
        create deployments.apps -A
        create pods -A
        delete serviceaccounts -A
        patch controlplanes -A
        list namespaces
        patch configmaps/kubeflex-config -n kubeflex-system""",
    "kubeflex-reconciler-external": """
        get secrets -A
        get secrets/kine-dsn -n PLANE
        list secrets -n kubeflex-system
        create secrets -n PLANE
        patch secrets/postgres-postgresql -n kubeflex-system
        create serviceaccounts -A
        create clusterrolebindings.rbac.authorization.k8s.io
        impersonate serviceaccounts -A
        create deployments.apps -A
        create pods -A
        patch controlplanes -A
        list namespaces""",
    "kubeflex-reconciler-vcluster": """
        get secrets -A
        list secrets -A
        watch secrets -n PLANE
        get secrets/kine-dsn -n PLANE
        get secrets/admin-kubeconfig -n PLANE
        get secrets/postgres-postgresql -n kubeflex-system
        patch controlplanes -A
        list namespaces
        create pods -n PLANE
        create pods --subresource=exec -n PLANE
        create serviceaccounts --subresource=token -A
        create clusterroles.rbac.authorization.k8s.io
        create clusterrolebindings.rbac.authorization.k8s.io
        patch deployments.apps/kube-apiserver -n PLANE
        create persistentvolumeclaims -n PLANE
        impersonate serviceaccounts -A
        patch configmaps/kubeflex-config -n kubeflex-system
        create secrets -n PLANE
        escalate roles.rbac.authorization.k8s.io/other -n PLANE
        bind clusterroles.rbac.authorization.k8s.io/cluster-admin""",
    "kubeflex-reconciler-k3s": """
        get secrets -A
        list secrets -A
        watch secrets -n PLANE
        get secrets/kine-dsn -n PLANE
        get secrets/admin-kubeconfig -n PLANE
        get secrets/postgres-postgresql -n kubeflex-system
        patch controlplanes -A
        list namespaces
        create pods -n PLANE
        create pods --subresource=exec -n PLANE
        create serviceaccounts --subresource=token -A
        create clusterroles.rbac.authorization.k8s.io
        create clusterrolebindings.rbac.authorization.k8s.io
        patch deployments.apps/kube-apiserver -n PLANE
        create persistentvolumeclaims -n PLANE
        impersonate serviceaccounts -A
        patch configmaps/kubeflex-config -n kubeflex-system
        patch roles.rbac.authorization.k8s.io -A
        bind clusterroles.rbac.authorization.k8s.io/cluster-admin""",
    "kubeflex-reconciler-ocm": """
        get secrets -A
        list secrets -A
        watch secrets -n PLANE
        get secrets/kine-dsn -n PLANE
        get secrets/admin-kubeconfig -n PLANE
        get secrets/postgres-postgresql -n kubeflex-system
        patch controlplanes -A
        list namespaces
        create pods -n PLANE
        create pods --subresource=exec -n PLANE
        create serviceaccounts --subresource=token -A
        create clusterroles.rbac.authorization.k8s.io
        create clusterrolebindings.rbac.authorization.k8s.io
        patch deployments.apps/kube-apiserver -n PLANE
        create persistentvolumeclaims -n PLANE
        impersonate serviceaccounts -A
        patch configmaps/kubeflex-config -n kubeflex-system
        escalate roles.rbac.authorization.k8s.io/other -n PLANE
        bind clusterroles.rbac.authorization.k8s.io/cluster-admin""",
    "kubeflex-storage-agent": """
        get deployments.apps -A
        create deployments.apps -n PLANE
        patch deployments.apps/kube-apiserver -n PLANE
        delete deployments.apps -n PLANE
        create namespaces
        create secrets -n PLANE
        get secrets -n PLANE
        get secrets/k8s-certs -n PLANE
        get secrets/admin-kubeconfig -n PLANE
        list secrets -A
        list secrets -n kubeflex-system
        patch secrets -n kubeflex-storage
        delete secrets/kine-dsn -n PLANE
        create statefulsets.apps -n PLANE
        patch statefulsets.apps/vcluster -n PLANE
        delete statefulsets.apps/etcd -n PLANE
        create services -n PLANE
        patch services/PLANE -n PLANE
        watch controlplanes
        patch controlplanes -A
        patch controlplanes/PLANE --subresource=status
        get configmaps/kubeflex-config -n kubeflex-system
        patch secrets/postgres-postgresql -n kubeflex-system""",
    "kubeflex-bus": """
        get secrets -A
        list secrets -n kubeflex-system
        get secrets/postgres-postgresql -n kubeflex-system
        get secrets/kine-dsn -n PLANE
        create secrets -n PLANE
        patch secrets/kubeflex-bus -n kubeflex-system
        delete secrets -n kubeflex-system
        get controlplanes
        list namespaces
        get pods -n kubeflex-system""",
    "kubeflex-postgres": """
        get secrets/postgres-postgresql -n kubeflex-system
        get pods -n kubeflex-system
        list namespaces""",
    "kubeflex-controller-manager": """
        bind clusterroles.rbac.authorization.k8s.io/edit
        escalate clusterroles.rbac.authorization.k8s.io
        impersonate users
        impersonate serviceaccounts -A
        create serviceaccounts --subresource=token -A
        create daemonsets.apps -A
        create postcreatehooks
        patch controlplanes/PLANE --subresource=status
        get nodes""",
    "PLANE:default": """
        get secrets/admin-kubeconfig -n PLANE
        get secrets/kine-dsn -n PLANE
        list secrets -n PLANE
        get pods -n PLANE
        list services -n PLANE
        get controlplanes
        list namespaces""",
}

problems = []


def complain(text):
    problems.append(text)


def kubectl(*args, stdin=None, check=True):
    command = ["kubectl", "--context", os.environ["HOST_CONTEXT"], *args]
    return subprocess.run(command, input=stdin, check=check, capture_output=True, text=True, timeout=120)


def answer(*args, stdin=None):
    return json.loads(kubectl(*args, "-o", "json", stdin=stdin).stdout)


def plane_namespace():
    return os.environ["PLANE"] + "-system"


def user(account):
    return "system:serviceaccount:" + account


def show(right):
    name = "" if right.name == "*" else f"/{right.name}"
    where = "the whole cluster" if right.where == CLUSTER else right.where
    return f"{right.account}: {right.verb} {right.resource}{name} ({right.group or 'core'}) in {where}"


# ---- the documentation -----------------------------------------------------------------------------------------------------


def rows(heads):
    """The cells of the table whose first row has these heads."""
    with open(f"{REPO}/docs/security.md", encoding="utf-8") as file:
        lines = iter(file.read().splitlines())
    wanted = "| " + " | ".join(heads) + " |"
    for line in lines:
        if line == wanted:
            break
    else:
        sys.exit(f"docs/security.md has no table with the head {wanted}")
    next(lines)
    found = []
    for line in lines:
        if not line.startswith("|"):
            break
        found.append([cell.strip() for cell in line.strip("|").split("|")])
    return found


def names_of(text):
    for name in re.findall(r"`([^`]+)`", text):
        if "<type>" in name:
            yield from (name.replace("<type>", kind) for kind in TYPES)
        else:
            yield name


def rights_of(account, where, text):
    """`resources [names]: verbs · …`, as both tables write it."""
    for item in text.split(" · "):
        match = re.fullmatch(r"([a-z/, ]+?)(?: \[([^\]]+)\])?: ([a-z, ]+)", item)
        if not match:
            sys.exit(f"docs/security.md: cannot be read as a right: {item!r}")
        for resource in match[1].split(", "):
            # Events are in two groups; "core" names the older one.
            group = "" if resource.startswith("core ") else GROUPS.get(resource.split("/")[0], "")
            resource = resource.removeprefix("core ")
            for name in names_of(match[2]) if match[2] else ["*"]:
                for verb in match[3].split(", "):
                    yield Right(account, where, group, resource, name, verb)


def documented():
    """All rights of the first table, and all accounts that it names."""
    rights, accounts, account = set(), set(), None
    for _, who, where, may in rows(["process", "ServiceAccount", "where", "may"]):
        if who:
            name = re.match(r"`([^`]+)`", who)[1]
            account = f"{plane_namespace() if '<plane>' in who else SYSTEM}:{name}"
            accounts.add(account)
        if not may.startswith("nothing"):
            rights |= set(rights_of(account, CLUSTER if where == "whole cluster" else where.strip("`"), may))
    return rights, accounts


def explained():
    rights = set()
    for who, text, _ in rows(["ServiceAccount", "right", "why it is there"]):
        for right in rights_of(f"{SYSTEM}:{who.strip('`')}", None, text):
            rights.add(right)
    return rights


# ---- what the cluster has --------------------------------------------------------------------------------------------------


def rules_to_rights(account, where, rules):
    for rule in rules:
        if "nonResourceURLs" in rule:
            complain(f"{account} may use paths: {rule['nonResourceURLs']}")
            continue
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                for name in rule.get("resourceNames") or ["*"]:
                    for verb in rule["verbs"]:
                        yield Right(account, where, group, resource, name, verb)


def bound(accounts):
    """What the bindings that name one of these accounts give it."""
    items = answer("get", "clusterroles,roles,clusterrolebindings,rolebindings", "-A")["items"]
    roles = {(i["kind"], i["metadata"].get("namespace"), i["metadata"]["name"]): i for i in items if i["kind"].endswith("Role")}
    rights = set()
    for item in items:
        if not item["kind"].endswith("Binding"):
            continue
        namespace = item["metadata"].get("namespace")
        role = roles.get((item["roleRef"]["kind"], namespace if item["roleRef"]["kind"] == "Role" else None, item["roleRef"]["name"]))
        for subject in item.get("subjects") or []:
            account = f"{subject.get('namespace') or namespace}:{subject['name']}"
            if subject["kind"] == "ServiceAccount" and account in accounts and role:
                rights |= set(rules_to_rights(account, namespace or CLUSTER, role.get("rules") or []))
    return rights


def check_roles():
    table, accounts = documented()
    roles = bound(accounts)
    if not table or not roles:
        complain("nothing to compare: the table or the roles are empty")
    for right in sorted(table - roles):
        complain(f"in docs/security.md, but no role grants it: {show(right)}")
    for right in sorted(roles - table):
        complain(f"granted by a role, but not in docs/security.md: {show(right)}")


# ---- what the API server answers -------------------------------------------------------------------------------------------


def review(account, verb, resource, *more):
    """The SubjectAccessReview that these words, as `kubectl auth can-i` takes them, stand for."""
    what, _, name = resource.partition("/")
    what, _, group = what.partition(".")
    group = "" if group == "core" else group or GROUPS.get(what, "")
    more = list(more)
    namespace = more[more.index("-n") + 1] if "-n" in more else ""
    sub = next((word.partition("=")[2] for word in more if word.startswith("--subresource=")), "")
    return {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": {
        "user": user(account), "groups": ["system:serviceaccounts", "system:serviceaccounts:" + account.split(":")[0], "system:authenticated"],
        "resourceAttributes": {"verb": verb, "group": group, "resource": what, "subresource": sub, "name": name,
                               "namespace": namespace}}}


def question(right, name):
    """The words that `kubectl auth can-i` would take."""
    resource, _, sub = right.resource.partition("/")
    group = right.group or ("core" if GROUPS.get(resource) else "")  # one name in two groups
    words = [right.verb, resource + (f".{group}" if group else "") + ("" if name == "*" else f"/{name}")]
    words += [f"--subresource={sub}"] if sub else []
    return words + (["-A"] if right.where == CLUSTER else ["-n", right.where])


def ask_all(questions, expected, what):
    """In one kubectl: a process for each of some hundred questions would take minutes."""
    reviews = {"apiVersion": "v1", "kind": "List", "items": [review(*asked) for asked in questions]}
    said = kubectl("create", "-f", "-", "-o", 'jsonpath={.status}{"\\n"}', stdin=json.dumps(reviews)).stdout
    answers = [json.loads(line) for line in said.splitlines()]
    if len(answers) != len(questions):
        sys.exit(f"{len(questions)} questions, {len(answers)} answers")
    for asked, status in zip(questions, answers):
        if status.get("evaluationError"):
            complain(f"{' '.join(asked)}: {status['evaluationError']}")
        if status.get("allowed", False) != expected:
            complain(f"{what}: {asked[0]}: {' '.join(asked[1:])}")
    print(f"{len(questions)} questions")


def served(rights):
    """kubectl cannot ask about what this cluster does not serve (OpenShift's routes); check_nothing_else has those too."""
    groups = {""} | {v.split("/")[0] for v in kubectl("api-versions").stdout.split() if "/" in v}
    left_out = {r.resource for r in rights if r.group not in groups}
    print(f"not asked, as not served here: {', '.join(sorted(left_out)) or 'nothing'}")
    return {r for r in rights if r.group in groups}


def check_granted():
    table = served(documented()[0])
    # One name of each list: check_nothing_else has them all.
    asked = {r._replace(name=""): r for r in sorted(table, reverse=True)}
    ask_all([(r.account, *question(r, r.name)) for r in asked.values()], True, "refused, but needed")
    # A limit to names is one: the same for a name that nobody has.
    limited = {r._replace(name="somebody-elses") for r in table if r.name != "*"}
    free = {r._replace(name="somebody-elses") for r in table if r.name == "*"}
    wider = {r._replace(where=CLUSTER) for r in limited} & free
    questions = [(r.account, *question(r, r.name)) for r in sorted(limited - free) if r._replace(where=CLUSTER) not in wider]
    ask_all(questions, False, "granted for another name")


def rules_for(name, namespace):
    review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview", "spec": {"namespace": namespace}}
    # kubectl would look definitions up to check it, which such an account may not.
    status = answer("create", "--validate=false", "-f", "-", f"--as={name}", stdin=json.dumps(review))["status"]
    if status.get("incomplete"):
        complain(f"the API server cannot list the rights of {name}: {status.get('evaluationError')}")
    return set(rules_to_rights("", namespace, status.get("resourceRules") or []))


def check_nothing_else():
    """The API server's own list of each account's rights, which also has what comes by groups, has nothing more."""
    table, accounts = documented()
    places = [SYSTEM, "kubeflex-storage", "default", plane_namespace()]
    for namespace in places:
        # What every ServiceAccount may, by groups: an account that nobody made has just that.
        everybody = rules_for(user(f"{namespace}:nobody-made-this"), namespace)
        if any(r.verb != "create" or not r.resource.startswith("selfsubject") for r in everybody):
            complain(f"every ServiceAccount has rights in {namespace}: {sorted(everybody)}")
        for account in sorted(accounts):
            expected = {r._replace(account="", where=namespace) for r in table if r.account == account and r.where in (CLUSTER, namespace)}
            found = rules_for(user(account), namespace) - everybody
            for right in sorted(found - expected):
                complain(f"{account} has one right more: {show(right)}")
            for right in sorted(expected - found):
                complain(f"{account} lacks: {show(right)}")
    print(f"{len(accounts)} accounts in {len(places)} namespaces")


def check_refused():
    questions = []
    for account, lines in REFUSED.items():
        account = account.replace("PLANE", plane_namespace()) if ":" in account else f"{SYSTEM}:{account}"
        for line in lines.strip().splitlines():
            line = line.replace("/PLANE", f"/{os.environ['PLANE']}").replace("PLANE", plane_namespace())
            questions.append((account, *line.split()))
    ask_all(questions, False, "granted, but must not be")


# ---- what is used ----------------------------------------------------------------------------------------------------------


def our_requests(files):
    prefix = user(SYSTEM + ":kubeflex-").encode()
    for path in files:
        with open(path, "rb") as file:
            for line in file:
                if prefix in line:
                    event = json.loads(line)
                    # A watch that goes on has only begun its answer.
                    done = event["stage"] == ("ResponseStarted" if event["verb"] == "watch" else "ResponseComplete")
                    if done and event["user"]["username"].encode().startswith(prefix):
                        yield event


# Refusals that are no lack of rights: admission, in a Namespace that ends, and for a kind that it has not looked up yet.
PASSING = ("being terminated", "cannot find RESTMapping")


def check_used(files):
    table, _ = documented()
    used, count = set(), 0
    # By what a request tells; its group and scope follow.
    by_resource = collections.defaultdict(list)
    for right in table:
        by_resource[right.account, right.resource].append(right)
    for event in our_requests(files):
        ref, status = event.get("objectRef") or {}, event.get("responseStatus") or {}
        account = (event.get("impersonatedUser") or event["user"])["username"].removeprefix("system:serviceaccount:")
        resource = "/".join(filter(None, (ref.get("resource"), ref.get("subresource"))))
        count += 1
        allowed = (event.get("annotations") or {}).get("authorization.k8s.io/decision") == "allow"
        if not allowed or status.get("code") in (401, 403) and not any(p in status.get("message", "") for p in PASSING):
            complain(f"{account}: {event['verb']} {event['requestURI']}: {status.get('code')} {status.get('message', '')}")
        # Server-side apply that makes the object needs both verbs.
        verbs = {event["verb"]} | ({"create"} if event["verb"] == "patch" and status.get("code") == 201 else set())
        for right in by_resource[account, resource]:
            if right.verb in verbs and right.where in (CLUSTER, ref.get("namespace")) and right.name in ("*", ref.get("name")):
                used.add(right)
    reasons = explained()
    for right in sorted(reasons - {r._replace(where=None) for r in table}, key=str):
        complain(f"explained, but in no row of the table: {right.account}: {right.verb} {right.resource}")
    for right in sorted(table - used):
        if right._replace(where=None) not in reasons:
            complain(f"never used and not explained: {show(right)}")
    if not used:
        complain(f"the audit log shows no request of ours ({count} looked at)")
    print(f"{count} requests, {len(used)} of {len(table)} rights used")


def main(words):
    checks = {"roles": check_roles, "granted": check_granted, "nothing-else": check_nothing_else, "refused": check_refused}
    if len(words) == 1 and words[0] in checks:
        checks[words[0]]()
    elif len(words) > 1 and words[0] == "used":
        check_used(words[1:])
    else:
        sys.exit(__doc__)
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
