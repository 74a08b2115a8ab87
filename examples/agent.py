"""Sends a mail and lists events with the token that token-broker keeps fresh.

Needs google-api-python-client and python-dotenv.
"""

import base64
import os
from datetime import datetime
from email.message import EmailMessage

import google.auth.credentials
import google.auth.exceptions
from dotenv import dotenv_values
from googleapiclient.discovery import build

ENV_FILE = os.environ.get("TOKEN_BROKER_ENV_FILE", "/run/token-broker/env")


class BrokerCredentials(google.auth.credentials.Credentials):
    """Google's library calls `refresh` at first, and again whenever the token nears its expiry."""

    def refresh(self, request):
        env = dotenv_values(ENV_FILE)
        if "GOOGLE_OAUTH_ACCESS_TOKEN" not in env:
            where = env.get("TOKEN_BROKER_ACTION_URL", "ask your operator")
            raise google.auth.exceptions.RefreshError(f"{env['TOKEN_BROKER_STATE']}: {where}")
        self.token = env["GOOGLE_OAUTH_ACCESS_TOKEN"]
        # In UTC and without a zone, as google-auth wants it.
        self.expiry = datetime.strptime(env["GOOGLE_OAUTH_TOKEN_EXPIRES_AT"], "%Y-%m-%dT%H:%M:%SZ")


def send_mail(gmail, to, subject, text):
    mail = EmailMessage()
    mail["To"], mail["Subject"] = to, subject
    mail.set_content(text)
    raw = base64.urlsafe_b64encode(mail.as_bytes()).decode()
    return gmail.users().messages().send(userId="me", body={"raw": raw}).execute()


def upcoming_events(calendar):
    return calendar.events().list(calendarId="primary", maxResults=10).execute()["items"]


if __name__ == "__main__":
    credentials = BrokerCredentials()
    send_mail(build("gmail", "v1", credentials=credentials), "bob@example.com", "Your order", "It is on its way.")
    for event in upcoming_events(build("calendar", "v3", credentials=credentials)):
        print(event["start"].get("dateTime", event["start"].get("date")), event["summary"])
