"""Plays an agent that uses Google's own client library: `google_agent.py BASE_URL TOKENS`.

Sends one mail with each new token until there were TOKENS of them, and lists events in between. Prints what it
saw as one JSON object. An API's refusal is printed as Google worded it, and ends the program well.
"""

import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "examples"))
import agent  # noqa: E402
from googleapiclient.discovery import build  # noqa: E402
from googleapiclient.errors import HttpError  # noqa: E402


def main():
    base, wanted = sys.argv[1], int(sys.argv[2])
    credentials = agent.BrokerCredentials()
    gmail = build("gmail", "v1", credentials=credentials, client_options={"api_endpoint": base})
    calendar_base = f"{base}/calendar/v3/"
    calendar = build("calendar", "v3", credentials=credentials, client_options={"api_endpoint": calendar_base})

    seen = {"subjects": [], "events": set(), "tokens": [], "refused": None}
    while len(seen["tokens"]) < wanted:
        seen["events"].update(event["summary"] for event in agent.upcoming_events(calendar))
        if credentials.token in seen["tokens"]:
            time.sleep(0.1)
            continue
        subject = f"Order {len(seen['tokens']) + 1}"
        try:
            agent.send_mail(gmail, "bob@example.com", subject, "It is on its way.")
        except HttpError as error:
            seen["refused"] = {"status": error.status_code, "details": error.error_details, "reason": error.reason}
            break
        seen["subjects"].append(subject)
        # The library may have read a newer one for the mail.
        seen["tokens"].append(credentials.token)
    seen["events"] = sorted(seen["events"])
    json.dump(seen, sys.stdout)


main()
