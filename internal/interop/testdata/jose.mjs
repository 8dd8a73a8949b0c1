import { createServer } from 'node:http'
import { createRemoteJWKSet, jwtVerify } from 'jose'

const issuer = 'http://127.0.0.1:8420'
const keys = createRemoteJWKSet(new URL(issuer + '/.well-known/jwks.json'))

createServer(async (request, response) => {
  try {
    const token = (request.headers.authorization ?? '').replace(/^Bearer +/i, '')
    const { payload } = await jwtVerify(token, keys, {
      issuer,
      audience: issuer,
      typ: 'session+jwt',
      maxTokenAge: '20 days',
    })
    response.end(payload.sub)
  } catch (error) {
    response.writeHead(401, { 'WWW-Authenticate': 'Bearer' }).end(error.code)
  }
}).listen(8080, '127.0.0.1')
