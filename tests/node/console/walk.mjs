// What people do in the console, in a real browser. The test beside it (tests/console/walk.rs) says where everything is.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import path from "node:path";
import { createRequire } from "node:module";
import { chromium } from "playwright-core";

const env = (name) => process.env[name] ?? assert.fail(`${name} is not set`);
const root = env("WALK_ROOT");
const command = JSON.parse(env("WALK_COMMAND"));
const keyFile = env("WALK_KEY_FILE");
const pictures = process.env.TOKEN_BROKER_TEST_PICTURES;
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

const link = (...args) =>
  execFileSync(command[0], [...command.slice(1), "console", "--no-browser", ...args], {
    encoding: "utf8",
    stdio: ["ignore", "pipe", "inherit"],
  }).trim();

const browser = await chromium.launch({
  executablePath: process.env.TOKEN_BROKER_TEST_CHROMIUM ?? "/usr/bin/chromium",
  args: [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
  ],
});

// Everything that a page complains of is a failure, but for refusals that the walk asks for.
const troubles = [];
const open = async (options = {}) => {
  const context = await browser.newContext({ viewport: { width: 1200, height: 800 }, ...options });
  context.setDefaultTimeout(60_000);
  context.on("console", (message) => {
    const refusal = /the server responded with a status of (400|401|404|410)/.test(message.text());
    if (["error", "warning"].includes(message.type()) && !refusal) troubles.push(message.text());
  });
  context.on("weberror", (error) => troubles.push(String(error.error())));
  return context;
};

const looks = [
  ["light", { colorScheme: "light" }, { width: 1200, height: 800 }],
  ["dark", { colorScheme: "dark" }, { width: 1200, height: 800 }],
  ["phone", { colorScheme: "light" }, { width: 390, height: 844 }],
];

// Looks at a page in each way that people see it: nothing wider than the screen, no serious finding of axe.
let looked = 0;
const look = async (page, name) => {
  for (const [way, media, size] of looks) {
    await page.emulateMedia(media);
    await page.setViewportSize(size);
    const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    assert.ok(wide <= 0, `${name} (${way}) is ${wide} pixels wider than the screen`);
    await page.evaluate(axe);
    const { violations } = await page.evaluate(() => window.axe.run());
    const serious = violations.filter(({ impact }) => ["serious", "critical"].includes(impact));
    assert.deepEqual(
      serious.map(({ id, nodes }) => [id, nodes.map((node) => node.html)]),
      [],
      `${name} (${way})`,
    );
    if (pictures) await page.screenshot({ path: path.join(pictures, `${name}-${way}.png`), fullPage: true });
    looked += 1;
  }
  await page.emulateMedia({ colorScheme: "light" });
  await page.setViewportSize({ width: 1200, height: 800 });
};

const button = (page, name) => page.getByRole("button", { name });
const to = (page, name) => page.getByRole("link", { name });
const seen = (page, text) => page.getByText(text).first().waitFor();

const signIn = async (context, ...args) => {
  const page = await context.newPage();
  await page.goto(link(...args));
  await button(page, "Continue").click();
  await page.waitForURL(/\/console\/(?!sign-in)/);
  return page;
};

// Google's page: leaves some boxes unticked, and allows the rest.
const consent = async (page, { account, untick = [] } = {}) => {
  await button(page, "Continue to Google").click();
  await page.waitForURL((url) => url.origin !== root);
  if (account) await page.getByLabel(account).check();
  for (const scope of untick) await page.locator(`input[value$="${scope}"]`).uncheck();
  await button(page, "Allow").click();
  await page.waitForURL((url) => url.origin === root);
};

const step = (name) => console.log(`- ${name}`);

step("nobody is signed in: how to");
const alices = await open();
{
  const page = await alices.newPage();
  await page.goto(`${root}/console/`);
  await seen(page, "Sign in");
  await look(page, "sign-in");
  await page.goto(link("--owner", "alice"));
  await seen(page, "Continue as alice?");
  await look(page, "invitation");
  await page.close();
}

step("a first account, with one of two boxes unticked");
const page = await signIn(alices, "--owner", "alice");
await seen(page, "No account is connected");
await look(page, "integrations-empty");
await to(page, "Connect a Google account").click();
assert.ok(await page.getByRole("checkbox", { name: "Send emails" }).isChecked(), "what an agent waits for is ticked");
assert.ok(!(await page.getByRole("checkbox", { name: "Read emails" }).isChecked()));
await look(page, "connect");
await consent(page, { untick: ["gmail.send"] });
await seen(page, "alice@example.com is connected. Not ticked at Google, and so not allowed: Send emails.");
await look(page, "integrations-unticked");

step("a second tab hears of what the first one does");
const second = await alices.newPage();
await second.goto(`${root}/console/agents`);
await second.getByText("Needs a permission").waitFor();

step("the agent asks for what it lacks");
await page.goto(`${root}/agents/invoice-bot`);
await page.waitForURL(/\/console\/agents\/invoice-bot/);
await seen(page, "not ticked when it was asked for");
await look(page, "agent-lacking");
await to(page, "Allow what is missing").click();
assert.ok(await page.getByRole("checkbox", { name: "Send emails" }).isChecked());
await look(page, "add-permissions");
await consent(page);
await seen(page, "alice@example.com is connected.");
await second.getByText("Needs a permission").waitFor({ state: "detached" });
await second.getByText("Working").first().waitFor();
await look(page, "integrations");
await page.goto(`${root}/console/agents`);
await look(page, "agents");
await page.goto(`${root}/console/agents/invoice-bot`);
await seen(page, "Present token works until");
await look(page, "agent");

step("disconnecting says what it ends, and ends it");
await page.goto(`${root}/console/integrations`);
await to(page, "Disconnect").click();
await seen(page, "These agents lose access at once:");
await seen(page, "invoice-bot");
await look(page, "disconnect");
await button(page, "Disconnect").click();
await seen(page, "Disconnected. No agent has access any more.");
await second.getByText("No account connected").first().waitFor();

step("and the account is connected again, by the keyboard alone");
await page.goto(`${root}/console/integrations`);
await page.keyboard.press("Tab");
assert.equal(await page.evaluate(() => document.activeElement.textContent), "Skip to the content");
await page.keyboard.press("Enter");
await page.keyboard.press("Tab");
assert.equal(await page.evaluate(() => document.activeElement.textContent), "Connect a Google account");
await page.keyboard.press("Enter");
await page.waitForURL(/\/console\/connect/);
await button(page, "Continue to Google").focus();
await page.keyboard.press("Enter");
await page.waitForURL((url) => url.origin !== root);
await button(page, "Allow").click();
await page.waitForURL((url) => url.origin === root);
await second.getByText("Working").first().waitFor();

step("what happened, in the owner's words");
const happened = await alices.newPage();
await happened.goto(`${root}/console/activity`);
await seen(happened, "You connected alice@example.com");
await seen(happened, "You disconnected an account");
await happened.getByText("The figures by the hour").click();
await look(happened, "activity");
await happened.getByLabel("Permission").selectOption({ label: "Read spreadsheets" });
await button(happened, "Show").click();
await seen(happened, "Nothing in the record fits.");
await to(happened, "Clear").click();
await seen(happened, "You connected alice@example.com");

step("Google's grant is gone: reconnecting");
await fetch(env("WALK_REVOKE_URL"), {
  method: "POST",
  headers: { "content-type": "application/json" },
  body: JSON.stringify({ account: "alice@example.com" }),
});
await page.goto(`${root}/console/integrations`);
await button(page, "Check now").click();
await seen(page, "Needs to be connected again");
await look(page, "integrations-reconnect");
await to(page, "Connect again").click();
await seen(page, "does not work any more");
await look(page, "reconnect");
await seen(happened, "could not get a new token for alice@example.com");
await consent(page);
await page.locator(".state", { hasText: "Working" }).waitFor();

step("a service account");
await to(page, "Add a service account").click();
await look(page, "service-account");
await page.getByLabel("Key file (JSON)").setInputFiles({
  name: "key.json",
  mimeType: "application/json",
  buffer: Buffer.from("{}"),
});
await button(page, "Add").click();
await seen(page, "The key file cannot be used");
await look(page, "service-account-refused");
await page.getByLabel("Key file (JSON)").setInputFiles(keyFile);
await button(page, "Add").click();
await seen(page, "is ready. Share files with this address.");
await seen(page, "Google Service Account");
await look(page, "integrations-both");
await alices.grantPermissions(["clipboard-read", "clipboard-write"]);
await button(page, "Copy").click();
await button(page, "Copied").waitFor();
const copied = await page.evaluate(() => navigator.clipboard.readText());
assert.match(copied, /@token-broker-emulator\.iam\.gserviceaccount\.com$/);

step("another owner sees nothing of it");
const bobs = await open();
const bob = await signIn(bobs, "--owner", "bob");
await seen(bob, "No account is connected");
const shown = await bob.content();
for (const word of ["alice", "invoice-bot", "gserviceaccount"]) assert.ok(!shown.includes(word), word);
await bob.goto(`${root}/console/agents/invoice-bot`);
await seen(bob, "There is no such page");
await look(bob, "nothing");

step("all of it without script");
const plain = await open({ javaScriptEnabled: false });
const still = await signIn(plain, "--owner", "bob");
await to(still, "Connect a Google account").click();
await still.getByRole("checkbox", { name: "Read files" }).check();
await consent(still, { account: "bob@example.com" });
await seen(still, "bob@example.com is connected.");
await to(still, "Disconnect").click();
await button(still, "Disconnect").click();
await seen(still, "Disconnected. No agent has access any more.");
await to(still, "Activity").click();
await still.getByLabel("Permission").selectOption({ label: "Read files" });
await button(still, "Show").click();
await seen(still, "You connected an account to ");
assert.ok(!(await still.content()).includes("alice"), "nor what happened to it");

step("the operator");
const operators = await open();
const operator = await signIn(operators);
await seen(operator, "alice@example.com");
await look(operator, "operator-integrations");
await to(operator, "Activity").click();
await seen(operator, "bob connected");
await to(operator, "Check now").click();
await seen(operator, "follow from each other");
await look(operator, "operator-activity");
await to(operator, "Health").click();
await seen(operator, "How fast Google answers");
await look(operator, "operator-health");
await to(operator, "Check the record now").click();
await seen(operator, "Whole");
await operator.goto(`${root}/console/agents/bobs-helper`);
await button(operator, "Make a link for bob").click();
await seen(operator, "Ask bob");
await look(operator, "operator-link");
const handedOn = await operator.getByLabel("Link").inputValue();
const elsewhere = await (await open()).newPage();
await elsewhere.goto(handedOn);
await button(elsewhere, "Continue").click();
await elsewhere.waitForURL(/\/console\/agents\/bobs-helper/);

step("signing out, and the link that was used");
await button(page, "Sign out").click();
await seen(page, "You are signed out");
await look(page, "signed-out");
await second.getByRole("heading", { name: "Sign in" }).waitFor();
await elsewhere.goto(handedOn);
await seen(elsewhere, "This link is no longer good");
await look(elsewhere, "used-link");

step("help, without signing in: from a link that is no longer good to its page, and on to all of them");
{
  const page = await (await open()).newPage();
  await page.goto(`${root}/oauth/callback?state=guess&code=4/guess`);
  await look(page, "callback-refused");
  await to(page, "What does this mean, and what can I do?").click();
  await page.waitForURL(`${root}/help/link-used`);
  await look(page, "help-link-used");
  await to(page, "All help").click();
  await look(page, "help");
  await to(page, "Google no longer honours what you allowed").click();
  await seen(page, "What you can do");
  await look(page, "help-grant-ended");
}

await browser.close();
assert.deepEqual(troubles, [], "what pages complained of");
console.log(`${looked} looks at pages`);
