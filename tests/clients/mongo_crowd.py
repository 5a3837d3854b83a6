"""One application that wants more connections than it may have: so many threads ping for so long. Then one more ping, alone.

usage: mongo_crowd.py URI THREADS SECONDS
"""

import collections
import json
import sys
import threading
import time

import pymongo

uri, threads, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
client = pymongo.MongoClient(uri, appname="crowd", maxPoolSize=threads, serverSelectionTimeoutMS=5000)
client.admin.command("ping")
done, failed = collections.Counter(), collections.Counter()
end = time.monotonic() + seconds


def run():
    while time.monotonic() < end:
        try:
            client.admin.command("ping")
            done["ping"] += 1
        except pymongo.errors.PyMongoError as error:
            failed[type(error).__name__] += 1


running = [threading.Thread(target=run) for _ in range(threads)]
for thread in running:
    thread.start()
for thread in running:
    thread.join()
# Drivers of before the end of 2025 pause for half a second when a connection cannot be made.
time.sleep(1)
client.admin.command("ping")
print(json.dumps({"done": done["ping"], "failed": failed}))
