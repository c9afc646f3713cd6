/* context.c: starting contexts, and telling the sanitizers about each switch (they keep shadow state per stack). Called by task.c and sim.c. */
#include "run/context.h"
#include <pthread.h>

#ifdef WEIR_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
/* Bounds of the stack the calling thread runs on now; NULL = its own thread stack, which ASan learns from the first switch back. */
static _Thread_local const void *here_low;
static _Thread_local size_t here_bytes;
#endif
#ifdef WEIR_TSAN
#include <sanitizer/tsan_interface.h>
#endif

#ifdef WEIR_ASAN
static void before_switch(struct context *from, const struct context *to, bool last)
{
    from->stack_low = here_low;
    from->stack_bytes = here_bytes;
    __sanitizer_start_switch_fiber(last ? NULL : &from->fake_stack, to->stack_low, to->stack_bytes);
}
static void after_switch(struct context *self, bool first)
{
    const void *old_low;
    size_t old_bytes;
    __sanitizer_finish_switch_fiber(first ? NULL : self->fake_stack, &old_low, &old_bytes);
    here_low = self->stack_low;
    here_bytes = self->stack_bytes;
}
#endif

/* A thread's own stack must have bounds before the first switch away from it, or the switch back could not name them. */
static void learn_thread_stack(void)
{
#ifdef WEIR_ASAN
    if (here_low != NULL)
        return;
    pthread_attr_t attr;
    void *low;
    size_t bytes;
    ASSERT(pthread_getattr_np(pthread_self(), &attr) == 0);
    ASSERT(pthread_attr_getstack(&attr, &low, &bytes) == 0);
    pthread_attr_destroy(&attr);
    here_low = low;
    here_bytes = bytes;
#endif
}

static void first_steps(struct context *self)
{
#ifdef WEIR_ASAN
    after_switch(self, true);
#endif
    self->fn(self->arg);
    ASSERT(!"a context's function returned");
}

#ifdef WEIR_TASK_UCONTEXT

static void uc_entry(unsigned low, unsigned high)
{
    first_steps((struct context *)(((uintptr_t)high << 32) | low));
}

static void switch_machine(struct context *from, struct context *to)
{
    ASSERT(swapcontext(&from->uc, &to->uc) == 0);
}

static void init_machine(struct context *ctx, void *stack_low, size_t bytes)
{
    ASSERT(getcontext(&ctx->uc) == 0);
    ctx->uc.uc_stack.ss_sp = stack_low;
    ctx->uc.uc_stack.ss_size = bytes;
    ctx->uc.uc_link = NULL;
    makecontext(&ctx->uc, (void (*)(void))uc_entry, 2, (unsigned)(uintptr_t)ctx, (unsigned)((uintptr_t)ctx >> 32));
}

#else

/* In context_switch.S: pushes the callee-saved registers, stores sp through save_sp, loads to_sp, pops, returns there. */
extern void context_switch_x86_64(void **save_sp, void *to_sp);
extern void context_entry_x86_64(void);
void context_begin(struct context *self);

/* Called by context_entry_x86_64 with the context that was put into r12. */
void context_begin(struct context *self)
{
    first_steps(self);
}

static void switch_machine(struct context *from, struct context *to)
{
    context_switch_x86_64(&from->sp, to->sp);
}

static void init_machine(struct context *ctx, void *stack_low, size_t bytes)
{
    uintptr_t top = ((uintptr_t)stack_low + bytes) & ~(uintptr_t)15;
    void **sp = (void **)top;
    *--sp = NULL;                                    /* two words keep the entry 16-byte aligned, */
    *--sp = NULL;                                    /* and end backtraces */
    *--sp = (void *)(uintptr_t)context_entry_x86_64; /* where the first switch returns to */
    *--sp = NULL;                                    /* rbp: the end of the frame chain */
    *--sp = NULL;                                    /* rbx */
    *--sp = ctx;                                     /* r12 */
    *--sp = NULL;                                    /* r13 */
    *--sp = NULL;                                    /* r14 */
    *--sp = NULL;                                    /* r15 */
    ctx->sp = sp;
}

#endif

void context_init(struct context *ctx, void *stack_low, size_t bytes, context_fn *fn, void *arg)
{
    ctx->fn = fn;
    ctx->arg = arg;
#ifdef WEIR_ASAN
    ctx->fake_stack = NULL;
    ctx->stack_low = stack_low;
    ctx->stack_bytes = bytes;
#endif
#ifdef WEIR_TSAN
    ctx->fiber = __tsan_create_fiber(0);
#endif
    init_machine(ctx, stack_low, bytes);
}

void context_fini(struct context *ctx)
{
#ifdef WEIR_ASAN
    if (ctx->fn != NULL) /* its last frames never returned and left their red zones to whoever gets this stack */
        ASAN_UNPOISON_MEMORY_REGION(ctx->stack_low, ctx->stack_bytes);
#endif
#ifdef WEIR_TSAN
    if (ctx->fiber != NULL && ctx->fn != NULL)
        __tsan_destroy_fiber(ctx->fiber);
    ctx->fiber = NULL;
#endif
    ctx->fn = NULL;
}

static inline void switch_with_sanitizers(struct context *from, struct context *to, bool last)
{
    learn_thread_stack();
#ifdef WEIR_ASAN
    before_switch(from, to, last);
#endif
#ifdef WEIR_TSAN
    from->fiber = __tsan_get_current_fiber();
    __tsan_switch_to_fiber(to->fiber, 0);
#endif
    (void)last;
    switch_machine(from, to);
#ifdef WEIR_ASAN
    after_switch(from, false);
#endif
}

void context_switch(struct context *from, struct context *to)
{
    switch_with_sanitizers(from, to, false);
}

void context_leave(struct context *from, struct context *to)
{
    switch_with_sanitizers(from, to, true);
    ASSERT(!"a finished context was resumed");
}
