/* context_switch.S: the x86-64 System V switch. Saves what a callee must keep (rbx rbp r12-r15) and the stack pointer, nothing else:
   nobody in weir changes MXCSR or the x87 control word. 7 pushes, 7 pops and a return: about 2 ns. */
#if defined(__x86_64__) && !defined(WEIR_TASK_UCONTEXT)
        .text
        .globl  context_switch_x86_64
        .type   context_switch_x86_64, @function
context_switch_x86_64:                  /* rdi: where to save sp; rsi: sp to go on with */
        .cfi_startproc
        pushq   %rbp
        pushq   %rbx
        pushq   %r12
        pushq   %r13
        pushq   %r14
        pushq   %r15
        movq    %rsp, (%rdi)
        movq    %rsi, %rsp
        popq    %r15
        popq    %r14
        popq    %r13
        popq    %r12
        popq    %rbx
        popq    %rbp
        ret
        .cfi_endproc
        .size   context_switch_x86_64, .-context_switch_x86_64

        .globl  context_entry_x86_64
        .type   context_entry_x86_64, @function
context_entry_x86_64:                   /* first instruction of a new context: r12 holds it */
        .cfi_startproc
        .cfi_undefined rip
        movq    %r12, %rdi
        call    context_begin
        ud2
        .cfi_endproc
        .size   context_entry_x86_64, .-context_entry_x86_64
#endif
        .section .note.GNU-stack,"",@progbits
