// An identity provider (npm oidc-provider) for the tests:
//
//     node oidc-provider.mjs SETTINGS.json
//
// It prints its issuer once it listens. SETTINGS.json: listen (host:port), issuer if that
// is the address of something in front of it, client_id, client_secret, redirect_uris,
// post_logout_redirect_uris, backchannel_logout_uri, key_file, and what is read again for
// each sign-in: users ({name: claims}) and skew, the seconds that its clock is off. Any
// name of users signs in with any password. The signing key is that of key_file, or a new
// one, which is written there.
import { generateKeyPairSync, randomUUID } from 'node:crypto'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { Provider } from 'oidc-provider'

const settings = () => JSON.parse(readFileSync(process.argv[2], 'utf8'))
const first = settings()

const now = Date.now
Date.now = () => now() + 1000 * (settings().skew ?? 0)

const [host, port] = first.listen.split(':')
const issuer = first.issuer ?? `http://${host}:${port}`
if (!existsSync(first.key_file)) {
  const made = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey.export({ format: 'jwk' })
  writeFileSync(first.key_file, JSON.stringify({ ...made, kid: randomUUID(), use: 'sig', alg: 'RS256' }))
}
const key = JSON.parse(readFileSync(first.key_file, 'utf8'))

const provider = new Provider(issuer, {
  jwks: { keys: [key] },
  cookies: { keys: [randomUUID()] },
  clients: [{
    client_id: first.client_id,
    client_secret: first.client_secret,
    redirect_uris: first.redirect_uris,
    post_logout_redirect_uris: first.post_logout_redirect_uris,
    backchannel_logout_uri: first.backchannel_logout_uri,
    backchannel_logout_session_required: true,
    response_types: ['code'],
    grant_types: ['authorization_code'],
  }],
  pkce: { required: () => true },
  acrValues: ['urn:example:mfa'],
  claims: {
    openid: ['sub', 'sid', 'auth_time', 'acr', 'session_expiry'],
    email: ['email', 'email_verified'],
    profile: ['name', 'preferred_username'],
    groups: ['groups'],
  },
  conformIdTokenClaims: false, // all claims in the ID token, not only at the userinfo endpoint
  features: {
    backchannelLogout: { enabled: true },
    devInteractions: { enabled: true },
    rpInitiatedLogout: { enabled: true },
  },
  async findAccount(_, id) {
    const claims = settings().users[id]
    return claims && { accountId: id, claims: async () => ({ sub: id, ...claims }) }
  },
  // No user is asked for consent.
  async loadExistingGrant(ctx) {
    const { client, session, params } = ctx.oidc
    const grant = new provider.Grant({ clientId: client.clientId, accountId: session.accountId })
    grant.addOIDCScope(params.scope)
    await grant.save()
    return grant
  },
  // Its own refuses addresses of this machine.
  fetch: (url, { dispatcher, ...options }) => fetch(url, options),
})
for (const event of ['server_error', 'authorization.error', 'grant.error', 'backchannel.success', 'backchannel.error']) {
  provider.on(event, (_, what) => console.error(event, what?.error_description ?? what?.message ?? what?.clientId ?? ''))
}
createServer(provider.callback()).listen(port, host, () => console.log(issuer))
