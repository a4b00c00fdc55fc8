// Asks for a page as a Node program would with the standard library alone, and
// prints what came of it: node get.mjs METHOD URL
//
// The proxy is that of the environment, http_proxy and HTTPS_PROXY. If it is
// reached by mutual TLS, then PROXY_CERT, PROXY_KEY and PROXY_CA are the files of
// the client's certificate, of its key, and of the proxy's authority; HOST_CA is
// that of the hosts. See docs/clients.md.

import fs from 'node:fs'
import http from 'node:http'
import https from 'node:https'
import net from 'node:net'

const timeout = 20_000
const { env } = process
const file = (name) => (env[name] ? fs.readFileSync(env[name]) : undefined)

// throughProxy sends a request to the proxy itself.
function throughProxy(proxy, options) {
  const tls = proxy.protocol === 'https:' && {
    ca: file('PROXY_CA'),
    cert: file('PROXY_CERT'),
    key: file('PROXY_KEY'),
    // Otherwise Node takes the Host header for the server's name.
    servername: net.isIP(proxy.hostname) ? '' : proxy.hostname,
  }
  const { request } = tls ? https : http
  return request({ host: proxy.hostname, port: proxy.port, agent: false, timeout, ...tls, ...options })
}

// answerTo waits for the answer to a request, and reads it.
function answerTo(request) {
  return new Promise((resolve, reject) => {
    request.on('error', reject)
    request.on('timeout', () => request.destroy(new Error('timeout')))
    request.on('response', (response) => {
      let body = ''
      response.setEncoding('utf8')
      response.on('data', (chunk) => { body += chunk })
      response.on('error', reject)
      response.on('end', () => resolve({ status: response.statusCode, headers: named(response), body }))
    })
    // This is an answer to CONNECT.
    request.on('connect', (response, socket, head) => {
      if (response.statusCode === 200) return resolve({ socket })
      let body = head.toString()
      socket.on('data', (chunk) => { body += chunk })
      socket.on('error', reject)
      socket.on('end', () => resolve({ connect: response.statusCode, headers: named(response), body }))
    })
    request.end()
  })
}

function named(response) {
  const canonical = (name) => name.split('-').map((w) => w[0].toUpperCase() + w.slice(1)).join('-')
  return Object.fromEntries(Object.entries(response.headers).map(([name, value]) => [canonical(name), String(value)]))
}

async function get(method, target) {
  const url = new URL(target)
  if (url.protocol === 'http:') {
    const proxy = new URL(env.http_proxy ?? env.HTTP_PROXY)
    return answerTo(throughProxy(proxy, { method, path: target, headers: { host: url.host } }))
  }
  const proxy = new URL(env.HTTPS_PROXY ?? env.https_proxy)
  const authority = `${url.hostname}:${url.port || 443}`
  const tunnel = await answerTo(throughProxy(proxy, { method: 'CONNECT', path: authority, headers: { host: authority } }))
  if (!tunnel.socket) return tunnel
  return answerTo(https.request(url, { method, socket: tunnel.socket, agent: false, ca: file('HOST_CA'), timeout }))
}

const [method, target] = process.argv.slice(2)
const outcome = await get(method, target).catch((error) => ({ error: `${error.code ?? error.name}: ${error.message}` }))
console.log(JSON.stringify(outcome))
process.exit() // the tunnel may be open still
