// A WebSocket service that closes a user's sockets when their session ends. It
// follows Curfew's change feed, and needs a client with the capability "follow".
import { randomUUID } from 'node:crypto'
import { createServer } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { createLocalJWKSet, decodeProtectedHeader, jwtVerify } from 'jose'
import { WebSocketServer } from 'ws'

const issuer = 'http://127.0.0.1:8420'
const curfew = process.env.CURFEW_URL ?? issuer
const authorization = 'Basic ' + Buffer.from(`${process.env.CURFEW_CLIENT}:${process.env.CURFEW_SECRET}`).toString('base64')
const follower = randomUUID()
const revoked = new Map() // "user ann" → epoch; all that the feed has named
const sessions = new Map() // socket → the claims of its token
let after = 0, confirmed = 0, trustedUntil = 0, settings, keys

// over says why a session has ended; undefined if it has not.
function over(s) {
  const now = Date.now() / 1000
  if (performance.now() >= trustedUntil) return 'unavailable' // no news for a lease
  if (!keys.keys.some((key) => key.kid === s.kid)) return 'unknown_key'
  if (now >= s.iat + settings.maximum_session_duration_seconds || now >= s.session_expiry ||
    (s.epoch < settings.maximum_floor_epoch && s.iat <= settings.maximum_floor)) return 'maximum_duration'
  if (!s.remember_me && (now >= s.last_refresh + settings.session_timeout_seconds ||
    (s.epoch < settings.idle_floor_epoch && s.last_refresh <= settings.idle_floor))) return 'idle_timeout'
  if (now >= s.exp) return 'expired'
  const scopes = ['everyone ', 'user ' + s.sub, 'session ' + s.sid, ...(s.remember_me ? ['remembered '] : [])]
  if (scopes.some((scope) => s.epoch < (revoked.get(scope) ?? 0))) return 'revoked'
}

// sweep closes the sockets of sessions that have ended.
function sweep() {
  for (const [socket, session] of sessions) {
    const reason = over(session)
    if (reason) socket.close(1008, reason)
  }
}

async function follow() {
  for (;;) {
    try {
      const sent = performance.now()
      const query = new URLSearchParams({ after, confirmed, follower, wait: trustedUntil ? 20 : 0 })
      const response = await fetch(`${curfew}/v1/changes?${query}`, { headers: { authorization }, signal: AbortSignal.timeout(30_000) })
      if (response.status === 410) { after = confirmed = trustedUntil = 0; continue } // the store was restored: start over
      if (!response.ok) throw new Error(`Curfew answers ${response.status}`)
      const changes = await response.json()
      settings = changes.settings ?? settings
      keys = changes.keys ?? keys
      for (const { scope, id, epoch } of changes.revocations) {
        const key = scope + ' ' + (id ?? '')
        revoked.set(key, Math.max(epoch, revoked.get(key) ?? 0))
      }
      after = changes.epoch
      if (!changes.more) {
        trustedUntil = sent + changes.held_ms + changes.lease_ms
        sweep() // before the next request confirms it
        confirmed = changes.epoch
      }
    } catch (error) {
      console.error('following Curfew:', error.message)
      await sleep(500)
    }
  }
}

async function validate(request) {
  const token = (request.headers.authorization ?? '').replace(/^Bearer +/i, '')
  const { payload } = await jwtVerify(token, createLocalJWKSet(keys), { issuer, audience: issuer, typ: 'session+jwt' })
  return { ...payload, kid: decodeProtectedHeader(token).kid }
}

const server = createServer((request, response) => response.writeHead(trustedUntil ? 426 : 503).end())
const sockets = new WebSocketServer({ noServer: true })
server.on('upgrade', async (request, socket, head) => {
  const refuse = (status) => socket.end(`HTTP/1.1 ${status}\r\nConnection: close\r\n\r\n`)
  if (performance.now() >= trustedUntil) return refuse('503 Service Unavailable')
  const session = await validate(request).catch(() => null)
  if (!session || over(session)) return refuse('401 Unauthorized')
  sockets.handleUpgrade(request, socket, head, (ws) => {
    sessions.set(ws, session)
    ws.on('close', () => sessions.delete(ws))
    ws.on('message', (data) => ws.send(data)) // what the service does
  })
})
setInterval(sweep, 1000) // what ends by time
follow()
server.listen(8080, '127.0.0.1')
