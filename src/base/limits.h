/* limits.h: bounds that no configuration changes, each with where its number comes from. Configurable ones are rows of conf/keys.def. */
#ifndef WEIR_LIMITS_H
#define WEIR_LIMITS_H

#define PIPELINE_BYTES_MAX   65536               /* DESIGN: one 64 KiB buffer of pipelined bytes may wait */
#define TARGET_BYTES_MAX     8192                /* nginx's large_client_header_buffers; our longest URL is a few hundred bytes */
#define KEEPALIVE_IDLE_NS    (75 * NANOS_PER_S)  /* nginx's keepalive_timeout */
#define LINGER_NS            (2 * NANOS_PER_S)   /* a refused body is read away this long, so that the refusal is not lost to a RST */
#define CUT_READ_NS          NANOS_PER_S         /* between the last bytes of a cut answer and the RST that may destroy them: a client that reads has them */
#define LINGER_BYTES_MAX     (1u << 20)          /* or this much */
#define SHARE_BYTES          131072              /* read from one client in SHARE_NS: a gigabit a second, for a tenth of its loop */
#define SHARE_NS             NANOS_PER_MS
#define OUT_HIGH_BYTES       65536               /* an answer's unsent bytes past which its writer waits */
#define RETRY_AFTER_NS       NANOS_PER_S         /* what we say when memory or tasks ran out: nobody can know, but a second frees a lot */
#define ACCEPTS_PER_TURN     64                  /* so that a connection flood cannot keep a loop from its requests */
#define REQUEST_ARENA_MAX    (64u << 20)         /* a 32 MiB body's JSON tree at body + 16 MiB, and room */
#define CONNS_IDLE_MAX       512                 /* kept for reuse, a worker and backend */
#define CONNS_IDLE_NS        (60 * NANOS_PER_S)  /* vLLM's uvicorn closes after 5 s, Ollama never: a dead one costs one retry */

#endif
