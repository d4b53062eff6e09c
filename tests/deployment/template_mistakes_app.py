"""Mistakes in what the container gets; see :mod:`tests.deployment.template_mistakes`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.deployment.template_mistakes import one_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.deployment.template_mistakes import Json, Mistake

APP = "Microsoft.App/containerApps"


def _in_app(old: str, new: str) -> Callable[[Json, Json], None]:
    """Return a mutation that puts another text into the container app's expressions."""

    def change(template: Json, _: Json) -> None:
        container = one_of(template, APP)["properties"]["template"]["containers"][0]
        assert old in container["env"]
        container["env"] = container["env"].replace(old, new)

    return change


def _key_in_the_environment(template: Json, form: Json) -> None:
    _in_app("variables('ledgerTable')", "parameters('crowdSecApiKey')")(template, form)


def _probe_removed(template: Json, _: Json) -> None:
    del one_of(template, APP)["properties"]["template"]["containers"][0]["probes"][2]


def _probe_of_another_port(template: Json, _: Json) -> None:
    probes = one_of(template, APP)["properties"]["template"]["containers"][0]["probes"]
    probes[1]["httpGet"]["port"] = 80


def _probe_too_patient(template: Json, _: Json) -> None:
    probes = one_of(template, APP)["properties"]["template"]["containers"][0]["probes"]
    probes[0]["failureThreshold"] = 30


def _grace_too_short(template: Json, _: Json) -> None:
    one_of(template, APP)["properties"]["template"]["terminationGracePeriodSeconds"] = 30


def _none_running(template: Json, _: Json) -> None:
    one_of(template, APP)["properties"]["template"]["scale"]["minReplicas"] = 0


def _checkpoints_of_another_form(template: Json, _: Json) -> None:
    (rule,) = one_of(template, APP)["properties"]["template"]["scale"]["rules"]
    rule["custom"]["metadata"]["checkpointStrategy"] = "azureFunction"


def _app_waits_for_no_role(template: Json, _: Json) -> None:
    needs = one_of(template, APP)["dependsOn"]
    needs[:] = [one for one in needs if "secretsRole" not in one]


def _waits_for_nothing_known(template: Json, _: Json) -> None:
    one_of(template, APP)["dependsOn"].append("[resourceId('Microsoft.KeyVault/vaults', 'other')]")


def _revisions_side_by_side(template: Json, _: Json) -> None:
    one_of(template, APP)["properties"]["configuration"]["activeRevisionsMode"] = "Multiple"


def _small_disk_for_the_replica(template: Json, _: Json) -> None:
    template["variables"]["cpu"] = "1.0"


def _secret_of_a_version(template: Json, _: Json) -> None:
    configuration = one_of(template, APP)["properties"]["configuration"]
    old = "concat(variables('secretsUrl'), variables('crowdSecSecret'))"
    new = "concat(variables('secretsUrl'), variables('crowdSecSecret'), '/0123')"
    assert old in configuration["secrets"]
    configuration["secrets"] = configuration["secrets"].replace(old, new)


def _scratch_on_the_image(template: Json, _: Json) -> None:
    template["variables"]["scratch"] = "/home/signinwatch"
    volumes = one_of(template, APP)["properties"]["template"]
    volumes["volumes"] = volumes["volumes"].replace("'EmptyDir'", "'AzureFile'")


def _keys_elsewhere(template: Json, form: Json) -> None:
    _in_app("variables('keys'), '/'", "'/run', '/'")(template, form)


def _more_instances_than_partitions(template: Json, _: Json) -> None:
    scale = one_of(template, APP)["properties"]["template"]["scale"]
    scale["maxReplicas"] = "[parameters('maxReplicas')]"


def _another_registry(template: Json, _: Json) -> None:
    configuration = one_of(template, APP)["properties"]["configuration"]
    configuration["registries"] = configuration["registries"].replace(
        "first(split(parameters('image'), '/'))", "'docker.io'"
    )


MISTAKES: dict[str, Mistake] = {
    "a key is in the environment": (_key_in_the_environment, "holds a key in the open"),
    "a probe is missing": (_probe_removed, "probe Readiness"),
    "a probe asks another port": (_probe_of_another_port, "probe Liveness"),
    "a probe is more patient than allowed": (_probe_too_patient, "more than 10 failures"),
    "the grace is too short": (_grace_too_short, "is over before the service has drained"),
    "nothing runs at night": (_none_running, "one instance must always be there"),
    "the scaler reads other checkpoints": (_checkpoints_of_another_form, "checkpointStrategy"),
    "a variable is misspelled": (
        _in_app("EVENTHUB__CONSUMER_GROUP", "EVENTHUB__CONSUMERGROUP"),
        "EVENTHUB__CONSUMERGROUP: there is no such setting",
    ),
    "a variable leads into nothing": (
        _in_app("variables('containerName')", "'checkpoints'"),
        "called checkpoints",
    ),
    "a variable leads to the other endpoint": (
        _in_app("primaryEndpoints.table", "primaryEndpoints.blob"),
        "STATE__ACCOUNT_URL: leads elsewhere",
    ),
    "a secret is named that is not there": (
        _in_app("'secretRef', variables('sekoiaSecret')", "'secretRef', 'sekoia'"),
        "secret sekoia: is used and not there",
    ),
    "the app does not wait for a role": (_app_waits_for_no_role, "app: does not wait for"),
    "the app waits for what is not there": (_waits_for_nothing_known, "not in its template"),
    "revisions run side by side": (_revisions_side_by_side, "only one may run"),
    "the replica does not fit": (_small_disk_for_the_replica, "too little"),
    "a secret is of one version": (_secret_of_a_version, "is not the vault's"),
    "scratch is a share": (_scratch_on_the_image, "STATE__SCRATCH: is no empty folder"),
    "the key's file is elsewhere": (_keys_elsewhere, "no secret lies there"),
    "instances without partitions": (_more_instances_than_partitions, "than partitions"),
    "the image comes from elsewhere": (_another_registry, "app: pulls"),
}
