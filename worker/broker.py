"""Celery's configuration and the queues, shared by those who run jobs and those who only ask for them.

A message is a hint: the ids of some jobs, named after their kind. It is acknowledged before it runs. Acknowledging late
would add nothing, because a job's lease in PostgreSQL is its acknowledgement, and would bring second deliveries after
the visibility timeout. The kill tests pass with early acknowledgement, whatever dies at whatever moment.
"""

from typing import Any

from kombu import Queue

QUEUES = ("verification", "rating", "maintenance")
"""Every queue. A kind of job lives in one; a worker consumes some of them (`-Q`)."""


def celery_configuration(broker_url: str) -> dict[str, Any]:
    """Settings for a Celery app on this broker. Each differs from Celery's default for the reason beside it."""
    configuration: dict[str, Any] = {
        "broker_url": broker_url,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,  # a worker outlives any outage of the broker
        "broker_pool_acquire_timeout": 5,
        "task_queues": [Queue(name) for name in QUEUES],
        "task_default_queue": "maintenance",
        "task_create_missing_queues": False,  # a misspelt -Q is an error, not a queue nobody fills
        "task_acks_late": False,
        "task_ignore_result": True,  # results are rows
        "task_serializer": "json",
        "accept_content": ["json"],
        "worker_prefetch_multiplier": 1,
        "worker_disable_rate_limits": True,
        "worker_send_task_events": False,  # a third of the throughput of short tasks; Flower has them switched on
        "worker_enable_remote_control": True,  # Flower and `celery inspect`; the broker's password guards it
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "worker_eta_task_limit": 100,  # nothing of ours has an ETA: time is a column
        "worker_hijack_root_logger": False,
        "timezone": "UTC",
        "enable_utc": True,
        "beat_scheduler": "worker.clock.scheduler:LedgerScheduler",
        "beat_max_loop_interval": 5,
    }
    if is_redis(broker_url):
        configuration["broker_transport_options"] = {
            "socket_timeout": 10,  # the default waits for ever on a broker that hangs
            "socket_connect_timeout": 3,
            "socket_keepalive": True,
            "health_check_interval": 10,
            "priority_steps": [0],  # one list a queue; priority is decided in PostgreSQL
            # Messages in hand are counted in the process alone. Kombu would write each one down in Redis before it is
            # begun and strike it out afterwards: half of what a message costs, for what a lease does already.
            "ack_emulation": False,
        }
    return configuration


def is_redis(broker_url: str) -> bool:
    return broker_url.startswith(("redis", "unix"))
