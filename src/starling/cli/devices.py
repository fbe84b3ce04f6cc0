"""Every core of the machine as a device of its own, so that batches of galaxies run side by side."""

import os

import jax

from starling.execution import cores


def use_all_cores() -> None:
    """Call before anything else of JAX; nothing happens later, or where the number of devices has been set.

    One galaxy's arithmetic is too little to share out inside an operation. Accelerators are not affected.
    """
    # "xla_force_host_platform_device_count" in XLA_FLAGS is the older way to say it
    if jax.config.jax_num_cpu_devices > 0 or "device_count" in os.environ.get("XLA_FLAGS", ""):
        return
    try:
        jax.config.update("jax_num_cpu_devices", cores())
    except RuntimeError:
        return
