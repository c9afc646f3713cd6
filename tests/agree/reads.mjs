// reads.mjs: how Node's HTTP server (strict parser) reads bytes from a client, or with the argument "answers" its client those of a server,
// for agree.py: the same cases and lines as reads.c.
import http from "node:http";
import { Duplex } from "node:stream";

const fnv = (hash, bytes) => bytes.reduce((h, b) => Math.imul(h ^ b, 16777619) >>> 0, hash);

function readAnswer(bytes) {
    return new Promise((done) => {
        let state = null, message = "", turns = 0;
        const wire = new Duplex({ read() {}, write(some, _, next) { next(); } });
        const agent = new http.Agent();
        agent.createConnection = () => wire;
        const rq = http.request({ method: "GET", host: "w", agent, insecureHTTPParser: false }, (rs) => {
            let length = 0, hash = 2166136261;
            rs.on("data", (some) => { length += some.length; hash = fnv(hash, some); });
            rs.on("end", () => { message = rs.complete ? ` ${length}:${hash.toString(16)}` : ""; state ??= rs.complete ? "closed" : "cut"; });
            rs.on("error", (error) => { state ??= error.code?.startsWith("HPE_") ? "refuse" : "cut"; });
        });
        rq.on("error", (error) => { state ??= error.code?.startsWith("HPE_") && error.code !== "HPE_INVALID_EOF_STATE" ? "refuse" : "cut"; });
        rq.on("upgrade", () => { state ??= "refuse"; });
        rq.end();
        const step = () => {
            if (++turns === 3)
                wire.push(bytes);
            else if (turns === 6 && !wire.destroyed)
                wire.push(null);
            if (turns < 12)
                return void setImmediate(step);
            done((state ?? "cut") + message);
            wire.destroy();
        };
        wire.on("error", () => {});
        setImmediate(step);
    });
}

function read(bytes) {
    return new Promise((done) => {
        const messages = [];
        let state = null, open = 0, closed = false, out = "";
        const server = http.createServer({ insecureHTTPParser: false, keepAliveTimeout: 0, requestTimeout: 0, headersTimeout: 0 });
        server.on("request", (rq, rs) => {
            if (state !== null || /HTTP\/1\.1 4/.test(out))
                return; // it has refused one before
            let length = 0, hash = 2166136261;
            open++;
            rq.on("data", (some) => { length += some.length; hash = fnv(hash, some); });
            rq.on("end", () => {
                open--;
                messages.push(`${length}:${hash.toString(16)}`);
                closed ||= !rs.shouldKeepAlive;
                rs.end("ok");
            });
            rq.on("error", () => {});
        });
        server.on("checkExpectation", () => { state ??= "refuse"; });
        server.on("clientError", (error) => { state ??= error.code === "HPE_INVALID_EOF_STATE" ? "cut" : error.code === "HPE_CLOSED_CONNECTION" ? "closed" : "refuse"; });
        const wire = new Duplex({
            read() {},
            write(some, _, next) { out += some.toString("latin1"); next(); },
        });
        server.emit("connection", wire);
        wire.on("error", () => {});
        wire.push(bytes);
        // The parser reads in microtasks and ticks; what is not there after a few turns never comes: no clock is involved.
        let turns = 0;
        const wait = () => {
            if (++turns < 4)
                return void setImmediate(wait);
            if (turns === 4) {
                if (!wire.destroyed && !closed)
                    wire.push(null);
                return void setImmediate(wait);
            }
            if (turns < 7)
                return void setImmediate(wait);
            const refused = /HTTP\/1\.1 4(00|17|31|13)/.test(out);
            done((closed ? "closed" : refused && state !== "cut" ? "refuse" : state ?? (open > 0 ? "cut" : "end")) + messages.map((m) => " " + m).join(""));
            wire.destroy();
            server.close();
        };
        setImmediate(wait);
    });
}

const chunks = [];
for await (const some of process.stdin)
    chunks.push(some);
const input = Buffer.concat(chunks);
const one = process.argv[2] === "answers" ? readAnswer : read;
const lines = [];
for (let at = 0; at < input.length;) {
    const n = input.readUInt32LE(at);
    lines.push(await one(input.subarray(at + 4, at + 4 + n)));
    at += 4 + n;
}
process.stdout.write(lines.join("\n") + "\n");
