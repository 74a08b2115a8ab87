// An OAuth server that this project did not write, oidc-provider, at the paths that Google has, on loopback. It demands
// PKCE and client authentication, rotates refresh tokens, and ends a grant whose spent refresh token is used again.
//
//     node server.mjs FOLDER      FOLDER is where `npm ci` has put node_modules
//
// A second listener takes orders and shows what happened:
//
//     GET  /state                 counters, requests that are held, refresh and access tokens
//     POST /lifetime {seconds}    of access tokens from now on
//     POST /hold {when}           token requests wait "before" or "after" they are worked on
//     POST /release               lets them go on
//     POST /bind {access}         whether proofs (DPoP) of the public client bind its access tokens too, or its refresh
//                                 tokens alone, as Google does
//     POST /nonce {required}      whether proofs have to carry a nonce
//     POST /shrink {scope}        takes a scope out of all living refresh tokens, as a server may at any time
import { generateKeyPairSync, randomBytes, randomUUID } from 'node:crypto';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const installed = createRequire(join(process.argv[2], 'package.json'));
const { default: Provider } = await import(pathToFileURL(installed.resolve('oidc-provider')));

const GOOGLE = 'https://www.googleapis.com/auth/';
const SCOPES = [
  'gmail.readonly', 'gmail.send', 'calendar.readonly', 'calendar', 'drive.readonly', 'drive',
  'spreadsheets.readonly', 'spreadsheets', 'documents.readonly', 'documents',
].map((name) => GOOGLE + name);

const counts = { exchanges: 0, refreshes: 0, reuses: 0, revocations: 0, waiting: 0 };
let lifetime = 3600;
let bindsAccess = true;
let needsNonce = false;
let held = null;

/** What the server keeps: plain maps, so that orders and questions can reach it. */
const models = new Map();
class Memory {
  constructor(name) {
    if (!models.has(name)) models.set(name, new Map());
    this.entries = models.get(name);
  }

  async upsert(id, payload) { this.entries.set(id, payload); }

  async find(id) { return this.entries.get(id); }

  async findByUid(uid) { return [...this.entries.values()].find((entry) => entry.uid === uid); }

  async findByUserCode(code) { return [...this.entries.values()].find((entry) => entry.userCode === code); }

  async consume(id) { this.entries.get(id).consumed = Math.floor(Date.now() / 1000); }

  async destroy(id) { this.entries.delete(id); }

  async revokeByGrantId(grantId) {
    for (const entries of models.values()) {
      for (const [id, entry] of entries) if (entry.grantId === grantId) entries.delete(id);
    }
  }
}

const tokens = (name) => [...(models.get(name) ?? new Map())].map(([token, entry]) => ({
  token, scope: entry.scope, account: entry.accountId, spent: Boolean(entry.consumed), bound: Boolean(entry.jkt),
}));

function signingKey() {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  return { ...privateKey.export({ format: 'jwk' }), kid: randomUUID(), use: 'sig', alg: 'RS256' };
}

function provide(issuer) {
  const provider = new Provider(issuer, {
    adapter: Memory,
    clients: [{
      client_id: process.env.CLIENT_ID,
      client_secret: process.env.CLIENT_SECRET,
      // A native client's loopback address may have any port (RFC 8252, section 7.3), as Google's desktop clients'.
      application_type: 'native',
      redirect_uris: ['http://127.0.0.1/oauth/callback'],
      grant_types: ['authorization_code', 'refresh_token'],
      token_endpoint_auth_method: 'client_secret_post',
    }, {
      client_id: process.env.PUBLIC_CLIENT_ID,
      application_type: 'native',
      redirect_uris: ['http://127.0.0.1/oauth/callback'],
      grant_types: ['authorization_code', 'refresh_token'],
      token_endpoint_auth_method: 'none',
    }],
    routes: {
      authorization: '/o/oauth2/v2/auth',
      token: '/token',
      revocation: '/revoke',
      jwks: '/oauth2/v3/certs',
      userinfo: '/v1/userinfo',
    },
    features: {
      devInteractions: { enabled: false },
      dPoP: {
        enabled: process.env.WITHOUT_DPOP !== 'true',
        nonceSecret: randomBytes(32),
        requireNonce: () => needsNonce,
      },
      revocation: { enabled: true },
    },
    interactions: { url: (_, interaction) => `/interaction/${interaction.uid}` },
    pkce: { required: () => true },
    rotateRefreshToken: true,
    issueRefreshToken: () => true,
    scopes: ['openid', 'email', 'files.read', 'notes.write', ...SCOPES],
    claims: { openid: ['sub'], email: ['email', 'email_verified'] },
    conformIdTokenClaims: false,
    findAccount: (_, sub) => ({
      accountId: sub,
      claims: () => ({ sub, email: `${sub}@example.com`, email_verified: true }),
    }),
    ttl: {
      AccessToken: () => lifetime,
      AuthorizationCode: 600,
      IdToken: 3600,
      RefreshToken: 86400,
      Grant: 86400,
      Interaction: 3600,
      Session: 3600,
    },
    jwks: { keys: [signingKey()] },
    cookies: { keys: [randomUUID()] },
  });
  provider.on('grant.error', (_, error) => {
    if (error.error_detail === 'refresh token already used') counts.reuses += 1;
  });
  provider.on('grant.success', (ctx) => {
    if (ctx.oidc.params.grant_type === 'refresh_token') counts.refreshes += 1;
    else counts.exchanges += 1;
  });
  provider.on('grant.revoked', () => { counts.revocations += 1; });
  provider.on('server_error', (_, error) => console.error(error));
  return provider;
}

/** Where it is ordered so, a proof binds the refresh token of a public client alone: the access token stays `Bearer`. */
function bindRefreshTokensAlone(provider) {
  const proven = new WeakMap();
  const { setThumbprint } = provider.AccessToken.prototype;
  provider.AccessToken.prototype.setThumbprint = function bind(kind, value) {
    if (bindsAccess || kind !== 'jkt') setThumbprint.call(this, kind, value);
    else proven.set(Provider.ctx, value);
  };
  const { save } = provider.RefreshToken.prototype;
  provider.RefreshToken.prototype.save = function bound(...rest) {
    this.jkt ??= proven.get(Provider.ctx);
    return save.apply(this, rest);
  };
}

async function body(request) {
  let text = '';
  for await (const chunk of request) text += chunk;
  return text;
}

/** The consent page: who it is, and which boxes are ticked. */
async function interact(provider, request, response) {
  const { params } = await provider.interactionDetails(request, response);
  const asked = params.scope.split(' ');
  if (request.method === 'GET') {
    response.setHeader('content-type', 'text/plain');
    response.end(asked.join('\n'));
    return;
  }
  const form = new URLSearchParams(await body(request));
  if (form.get('decision') !== 'allow') {
    await provider.interactionFinished(request, response, { error: 'access_denied' });
    return;
  }
  const accountId = form.get('account');
  const grant = new provider.Grant({ accountId, clientId: params.client_id });
  const ticked = ['openid', 'email', ...form.getAll('scope')];
  grant.addOIDCScope(asked.filter((scope) => ticked.includes(scope)).join(' '));
  grant.rejectOIDCScope(asked.filter((scope) => !ticked.includes(scope)).join(' '));
  const result = { login: { accountId }, consent: { grantId: await grant.save() } };
  await provider.interactionFinished(request, response, result);
}

/** A token request waits where it was ordered to. */
async function token(oauth, request, response) {
  const order = held;
  if (order?.when === 'before') await waited(order);
  if (order?.when === 'after') {
    const end = response.end.bind(response);
    response.end = (...rest) => {
      waited(order).then(() => end(...rest));
      return response;
    };
  }
  oauth(request, response);
}

async function waited(order) {
  counts.waiting += 1;
  await order.released;
  counts.waiting -= 1;
}

function release() {
  held?.release();
  held = null;
}

const orders = {
  lifetime: ({ seconds }) => { lifetime = seconds; },
  bind: ({ access }) => { bindsAccess = access; },
  nonce: ({ required }) => { needsNonce = required; },
  hold: ({ when }) => {
    let open;
    const released = new Promise((resolve) => { open = resolve; });
    held = { when, released, release: open };
  },
  release,
  shrink: ({ scope }) => {
    for (const entry of models.get('RefreshToken').values()) {
      entry.scope = entry.scope.split(' ').filter((one) => one !== scope).join(' ');
    }
  },
};

async function control(request, response) {
  const order = orders[request.url.slice(1)];
  response.setHeader('content-type', 'application/json');
  if (request.method === 'POST' && order) {
    order(JSON.parse(await body(request)));
    response.end('{}');
  } else if (request.method === 'GET' && request.url === '/state') {
    response.end(JSON.stringify({ ...counts, refresh: tokens('RefreshToken'), access: tokens('AccessToken') }));
  } else {
    response.statusCode = 404;
    response.end('{}');
  }
}

const listening = (server) => new Promise((resolve) => {
  server.listen(0, '127.0.0.1', () => resolve(`http://127.0.0.1:${server.address().port}`));
});
const failed = (response) => (error) => {
  console.error(error);
  response.statusCode = 500;
  response.end();
};

const server = createServer();
const issuer = await listening(server);
const provider = provide(issuer);
bindRefreshTokensAlone(provider);
const oauth = provider.callback();
server.on('request', (request, response) => {
  if (request.url.startsWith('/interaction/')) interact(provider, request, response).catch(failed(response));
  else if (request.url === '/token') token(oauth, request, response).catch(failed(response));
  else oauth(request, response);
});
const ordersAt = await listening(createServer((request, response) => {
  control(request, response).catch(failed(response));
}));
console.log(`Provider: ${issuer}`);
console.log(`Control:  ${ordersAt}`);
