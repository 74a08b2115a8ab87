# Plays an agent that knows nothing of a broker: `library_agent.rb BASE_URL TOKENS`.
#
# Google's own library finds its credentials by itself, in the environment. Lists mails and events until it has
# used TOKENS different tokens, in one process, and prints what it saw as one JSON object.

require "googleauth"
require "json"

# Wider than what the agent may do, as programs ask.
SCOPES = ["https://mail.google.com/", "https://www.googleapis.com/auth/calendar"].freeze

base, wanted = ARGV[0], Integer(ARGV[1])
# Its probe gives a slow machine a second.
sleep 0.2 until Google::Auth::GCECredentials.on_gce?({}, true)
credentials = Google::Auth.get_application_default(SCOPES)
http = Faraday.new(base) { |connection| connection.response(:raise_error) }
get = ->(path) { JSON.parse(http.get(path, nil, credentials.apply({})).body) }

tokens, calls, events, address = [], 0, [], nil
while tokens.size < wanted
  address = get.("/gmail/v1/users/me/profile")["emailAddress"]
  events |= get.("/calendar/v3/calendars/primary/events")["items"].map { |event| event["summary"] }
  tokens |= [credentials.access_token]
  calls += 2
  sleep 0.1
end
seen = { tokens: tokens, calls: calls, events: events, address: address, credentials: credentials.class.name }
puts JSON.generate(seen)
