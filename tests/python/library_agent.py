"""Plays an agent that knows nothing of a broker: `library_agent.py BASE_URL TOKENS`.

Google's own library finds its credentials by itself, in the environment. Lists mails and events until it has
used TOKENS different tokens, in one process, and prints what it saw as one JSON object.
"""

import json
import sys
import time

import google.auth
from googleapiclient.discovery import build

SCOPES = {"gmail": "https://mail.google.com/", "calendar": "https://www.googleapis.com/auth/calendar"}


def main():
    base, wanted = sys.argv[1], int(sys.argv[2])
    # Wider than what the agent may do, as programs ask.
    credentials, project = google.auth.default(scopes=list(SCOPES.values()))
    options = {"api_endpoint": base}
    gmail = build("gmail", "v1", credentials=credentials, client_options=options)
    options = {"api_endpoint": f"{base}/calendar/v3/"}
    calendar = build("calendar", "v3", credentials=credentials, client_options=options)

    tokens, calls, events, address = [], 0, set(), None
    while len(tokens) < wanted:
        address = gmail.users().getProfile(userId="me").execute()["emailAddress"]
        answer = calendar.events().list(calendarId="primary").execute()
        events.update(event["summary"] for event in answer["items"])
        calls += 2
        if credentials.token not in tokens:
            tokens.append(credentials.token)
        time.sleep(0.1)
    kind = f"{type(credentials).__module__}.{type(credentials).__name__}"
    seen = {"tokens": tokens, "calls": calls, "events": sorted(events), "address": address}
    json.dump(seen | {"credentials": kind, "project": project}, sys.stdout)


main()
