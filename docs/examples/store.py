"""A store that outlives its leader's process: the README's example.

`python docs/examples/store.py` starts a Ray on this machine; with RAY_ADDRESS=auto it uses a running one.
"""

import os
import signal

import ray

import kv

if __name__ == "__main__":
    ray.init(log_to_driver=False)
    store = kv.start("jobs", members=3)  # three members, each with a log on disk
    version = store.put("job-17", {"state": "queued"})  # acknowledged: on the disks of a majority
    status = kv.status("jobs")
    os.kill(status.members[status.leader].pid, signal.SIGKILL)  # the leader's process is gone
    store.put("job-17", {"state": "done"}, if_version=version)  # waits for the new leader; applied once
    print(store.get("job-17"))
    kv.shutdown("jobs")  # the data stays; the next kv.start resumes it
