const { createServer } = require('node:http')
const jwt = require('jsonwebtoken')
const jwksClient = require('jwks-rsa')

const issuer = 'http://127.0.0.1:8420'
const keys = jwksClient({ jwksUri: issuer + '/.well-known/jwks.json' })

createServer((request, response) => {
  const token = (request.headers.authorization ?? '').replace(/^Bearer +/i, '')
  const key = (header, done) =>
    keys.getSigningKey(header.kid).then((k) => done(null, k.getPublicKey()), done)
  jwt.verify(token, key, { algorithms: ['ES256'], issuer, audience: issuer }, (error, claims) => {
    if (error) response.writeHead(401, { 'WWW-Authenticate': 'Bearer' }).end(error.message)
    else response.end(claims.sub)
  })
}).listen(8080, '127.0.0.1')
