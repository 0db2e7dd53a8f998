"""What Airflow asks a provider: its connection type and form, hooks, operators, sensors and triggers. Data only."""

from __future__ import annotations

from typing import Any

CONN_TYPE = "falinvoke"
HOOK_NAME = "fal on DigitalOcean (async-invoke)"
INTEGRATION = "fal on DigitalOcean"

#: The extra fields of the connection form; their meaning is api/endpoint.py's ConnectionExtra.
CONN_FIELDS: dict[str, dict[str, Any]] = {
    "connect_timeout": {
        "label": "Connect timeout",
        "schema": {"type": ["integer", "null"]},
        "description": "Seconds until a connection must be made (default 10).",
    },
    "read_timeout": {
        "label": "Read timeout",
        "schema": {"type": ["integer", "null"]},
        "description": "Seconds that the API may be silent in an exchange (default 60).",
    },
    "exchange_timeout": {
        "label": "Exchange timeout",
        "schema": {"type": ["integer", "null"]},
        "description": "Seconds that a request and its whole answer may take together (default 300).",
    },
    "max_reply_size": {
        "label": "Max reply size",
        "schema": {"type": ["integer", "null"]},
        "description": "Bytes that an answer may have, unpacked (default 67108864); a larger one is never fetched.",
    },
    "submit_patience": {
        "label": "Submit patience",
        "schema": {"type": ["integer", "null"]},
        "description": "Seconds to go on trying a submit while the API is out of reach or answers 429 (default 120).",
    },
    "requests_per_minute": {
        "label": "Requests per minute",
        "schema": {"type": ["integer", "null"]},
        "description": "The account's quota (default 250); triggerers and workers that share it slow down together.",
    },
    "requests_per_hour": {
        "label": "Requests per hour",
        "schema": {"type": ["integer", "null"]},
        "description": "The account's quota (default 5000).",
    },
    "ca_bundle": {
        "label": "CA bundle",
        "schema": {"type": ["string", "null"]},
        "description": "Path of a PEM file with certificates to trust beside the usual ones.",
    },
    "on_ambiguous_submit": {
        "label": "On ambiguous submit",
        "schema": {"type": ["string", "null"], "enum": ["fail", "retry"], "default": "fail"},
        "description": "A submit that may have been accepted, though no request_id came back: fail for good, "
        "or let Airflow's retries submit again and maybe pay twice.",
    },
    "prices": {
        "label": "Prices",
        # Not "object": Airflow's field for JSON rewrites the text and moves the cursor while one types.
        "schema": {"type": ["string", "null"], "format": "multiline"},
        "description": 'What models cost, as JSON: {"fal-ai/fast-sdxl": {"per_image": 0.003}}; also per_megapixel, '
        "per_second, per_1000_characters. For estimates and max_cost.",
    },
    "allow_http": {
        "label": "Allow plain http",
        "schema": {"type": ["boolean", "null"], "default": False},
        "description": "Send the key unencrypted to a host that is not this machine.",
    },
}

UI_FIELD_BEHAVIOUR: dict[str, Any] = {
    "hidden-fields": ["login"],
    "relabeling": {"password": "Model access key", "host": "Base URL", "schema": "Scheme"},
    "placeholders": {
        "host": "https://inference.do-ai.run",
        "schema": "https",
        # These answer "Bad Request" to the test of any stored connection without a port (apache/airflow #73298).
        "port": "443 (type it: Test in Airflow 3.3.1 and 3.3.2 wants it)",
        "password": "a DigitalOcean model access key, or an API token",
    },
}

#: The section ``[falinvoke]`` of Airflow's configuration.
CONFIG: dict[str, Any] = {
    "falinvoke": {
        "description": "Settings of the provider for fal on DigitalOcean.",
        "options": {
            "resume_margin": {
                "description": "Seconds to add to the time that a deferred task sleeps at the least, which keeps it "
                "from a race in\nAirflow's scheduler (apache/airflow #71580): min_heartbeat_interval, "
                "scheduler_idle_sleep_time and 2 s.\nRaise it on workers where a scheduler's loop takes longer than "
                "these 2 s.\n",
                "version_added": "0.1.0",
                "type": "float",
                "example": "3",
                "default": "0",
            },
            "media_roots": {
                "description": "What the tab Media may read: places as output_path has them, separated by commas, "
                "each with all that\nlies below it. Without it the tab reads whatever a result names and the "
                "api-server can reach, with any of Airflow's\nconnections; so whoever may edit an XCom of one DAG can "
                "have it show the media and manifests of others.\n",
                "version_added": "0.1.0",
                "type": "string",
                "example": "s3://aws_default@media, file:///shared/media",
                "default": "",
            },
        },
    },
}


def get_provider_info() -> dict[str, Any]:
    """Return the provider's description, as ``provider_info.schema.json`` of Airflow has it."""
    package = "airflow_provider_falinvoke"
    return {
        "package-name": "airflow-provider-falinvoke",
        "name": INTEGRATION,
        "description": "Generate images, audio and speech with fal models through DigitalOcean's async-invoke API.",
        "integrations": [
            {
                "integration-name": INTEGRATION,
                "external-doc-url": "https://docs.digitalocean.com/products/gradient-ai-platform/",
                "tags": ["ai"],
            }
        ],
        "hooks": [{"integration-name": INTEGRATION, "python-modules": [f"{package}.hooks.falinvoke"]}],
        "operators": [
            {
                "integration-name": INTEGRATION,
                "python-modules": [
                    f"{package}.operators.{name}"
                    for name in ("falinvoke", "batch", "waves", "typed", "image", "audio", "speech")
                ],
            }
        ],
        "sensors": [{"integration-name": INTEGRATION, "python-modules": [f"{package}.sensors.falinvoke"]}],
        "triggers": [
            {
                "integration-name": INTEGRATION,
                "python-modules": [f"{package}.triggers.falinvoke", f"{package}.triggers.batch"],
            }
        ],
        "config": CONFIG,
        "extra-links": [f"{package}.links.media.MediaLink"],
        "cli": [f"{package}.cli.definition.get_commands"],
        "task-decorators": [{"name": "fal_invoke", "class-name": f"{package}.decorators.falinvoke.fal_invoke_task"}],
        "connection-types": [
            {
                "connection-type": CONN_TYPE,
                "hook-class-name": f"{package}.hooks.falinvoke.FalInvokeHook",
                "hook-name": HOOK_NAME,
                "conn-fields": CONN_FIELDS,
                "ui-field-behaviour": UI_FIELD_BEHAVIOUR,
            }
        ],
    }
