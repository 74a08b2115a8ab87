import com.google.api.client.http.javanet.NetHttpTransport;
import com.google.api.client.json.gson.GsonFactory;
import com.google.api.services.calendar.Calendar;
import com.google.api.services.calendar.model.Event;
import com.google.api.services.gmail.Gmail;
import com.google.auth.http.HttpCredentialsAdapter;
import com.google.auth.oauth2.GoogleCredentials;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;

/**
 * Plays an agent that knows nothing of a broker: LibraryAgent BASE_URL TOKENS.
 *
 * <p>Google's own library finds its credentials by itself, in the environment. Lists mails and events until it has
 * used TOKENS different tokens, in one process, and prints what it saw as one JSON object.
 */
public final class LibraryAgent {
  /** Wider than what the agent may do, as programs ask. */
  private static final List<String> SCOPES =
      List.of("https://mail.google.com/", "https://www.googleapis.com/auth/calendar");

  public static void main(String[] arguments) throws Exception {
    String base = arguments[0] + "/";
    int wanted = Integer.parseInt(arguments[1]);
    GoogleCredentials credentials = GoogleCredentials.getApplicationDefault().createScoped(SCOPES);
    HttpCredentialsAdapter adapter = new HttpCredentialsAdapter(credentials);
    NetHttpTransport transport = new NetHttpTransport();
    GsonFactory json = GsonFactory.getDefaultInstance();
    Gmail gmail = new Gmail.Builder(transport, json, adapter).setRootUrl(base).setApplicationName("agent").build();
    Calendar calendar =
        new Calendar.Builder(transport, json, adapter).setRootUrl(base).setApplicationName("agent").build();

    Set<String> tokens = new TreeSet<>();
    Set<String> events = new TreeSet<>();
    String address = null;
    int calls = 0;
    while (tokens.size() < wanted) {
      address = gmail.users().getProfile("me").execute().getEmailAddress();
      for (Event event : calendar.events().list("primary").execute().getItems()) {
        events.add(event.getSummary());
      }
      tokens.add(credentials.getAccessToken().getTokenValue());
      calls += 2;
      Thread.sleep(100);
    }
    System.out.println(
        json.toString(
            Map.of(
                "tokens", tokens,
                "calls", calls,
                "events", events,
                "address", address,
                "credentials", credentials.getClass().getSimpleName())));
  }
}
