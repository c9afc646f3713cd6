/* context.h: a place to stop and go on from: a stack and a saved stack pointer. Tasks and simulated threads stand on it.
   Two implementations: context_switch.S (x86-64) and ucontext (WEIR_TASK_UCONTEXT, or any other machine). */
#ifndef WEIR_CONTEXT_H
#define WEIR_CONTEXT_H

#include "base/base.h"

#if !defined(__x86_64__) && !defined(WEIR_TASK_UCONTEXT)
#define WEIR_TASK_UCONTEXT
#endif
#ifdef WEIR_TASK_UCONTEXT
#include <ucontext.h>
#endif

#if defined(__SANITIZE_ADDRESS__)
#define WEIR_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define WEIR_ASAN 1
#endif
#endif
#if defined(__SANITIZE_THREAD__)
#define WEIR_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define WEIR_TSAN 1
#endif
#endif

typedef void context_fn(void *arg); /* must never return */

struct context {
#ifdef WEIR_TASK_UCONTEXT
    ucontext_t uc;
#else
    void *sp;
#endif
#ifdef WEIR_ASAN
    void *fake_stack;
    const void *stack_low;
    size_t stack_bytes;
#endif
#ifdef WEIR_TSAN
    void *fiber;
#endif
    context_fn *fn; /* NULL for a context that was never started, only saved into */
    void *arg;
};

/* Prepares ctx to run fn(arg) on [stack_low, stack_low + bytes) at the first switch to it. */
void context_init(struct context *ctx, void *stack_low, size_t bytes, context_fn *fn, void *arg);
/* What a sanitizer holds for it; the context must not be running. */
void context_fini(struct context *ctx);
/* Saves the running one into from and goes on with to. */
void context_switch(struct context *from, struct context *to);
/* The same for the last time: from will never be switched to again. */
void context_leave(struct context *from, struct context *to);

#endif
