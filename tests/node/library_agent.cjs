// Plays an agent that knows nothing of a broker: `library_agent.cjs BASE_URL TOKENS`.
//
// Google's own library finds its credentials by itself, in the environment. Lists mails and events until it has
// used TOKENS different tokens, in one process, and prints what it saw as one JSON object.

const { setTimeout } = require("node:timers/promises");
const { google } = require("googleapis");

// Wider than what the agent may do, as programs ask.
const SCOPES = ["https://mail.google.com/", "https://www.googleapis.com/auth/calendar"];

async function main(base, wanted) {
  const auth = new google.auth.GoogleAuth({ scopes: SCOPES });
  const client = await auth.getClient();
  const gmail = google.gmail({ version: "v1", auth: client, rootUrl: `${base}/` });
  const calendar = google.calendar({ version: "v3", auth: client, rootUrl: `${base}/` });

  const [tokens, events] = [new Set(), new Set()];
  let [calls, address] = [0, null];
  while (tokens.size < wanted) {
    const profile = await gmail.users.getProfile({ userId: "me" });
    const listed = await calendar.events.list({ calendarId: "primary" });
    address = profile.data.emailAddress;
    for (const event of listed.data.items) events.add(event.summary);
    for (const answer of [profile, listed]) tokens.add(bearer(answer));
    calls += 2;
    await setTimeout(100);
  }
  const credentials = client.constructor.name;
  const seen = { tokens: [...tokens], calls, events: [...events].sort(), address, credentials };
  process.stdout.write(JSON.stringify(seen));
}

function bearer(answer) {
  return new Headers(answer.config.headers).get("authorization").replace(/^Bearer /, "");
}

main(process.argv[2], Number(process.argv[3])).catch((error) => {
  console.error(error.message);
  process.exitCode = 1;
});
