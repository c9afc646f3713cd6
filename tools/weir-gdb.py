# weir-gdb.py: what every task is doing, in a live process or a core. In gdb: source tools/weir-gdb.py, then
#   weir-tasks       a line for each live task: worker, index, name, state, what it waits for and for how long, its request
#   weir-tasks -b    with a backtrace of each parked one
# Reads memory only: it works on cores, and never runs or changes the process. Cores written by the kernel hold every stack; gdb's own gcore
# gives up on a mapping at the first installed guard (MADV_GUARD_INSTALL) and leaves the stacks in it out.
import gdb

TASKS_PER_CHUNK = 64  # task.c; tests/unit/test_gdb.sh looks past one chunk, so that a difference is noticed
FRAMES_MAX = 64
CANNOT_KNOW = "?"

# struct context -> (where it goes on, its frame pointer)
REG_RBP, REG_RIP = 10, 16  # of gregs, <sys/ucontext.h>
SAVED_RBP, SAVED_RET = 5, 6  # context_switch.S leaves r15 r14 r13 r12 rbx rbp ret


def word(address):
    return int(gdb.Value(address).cast(gdb.lookup_type("unsigned long").pointer()).dereference())


def stopped_at(context):
    names = [f.name for f in context.type.fields()]
    if "uc" in names:
        registers = context["uc"]["uc_mcontext"]["gregs"]
        return int(registers[REG_RIP]), int(registers[REG_RBP])
    sp = int(context["sp"])
    return word(sp + 8 * SAVED_RET), word(sp + 8 * SAVED_RBP)


def frames(task):
    """Follows the chain of frame pointers (weir is built with them) as long as it stays on the task's own stack."""
    low = int(task["stack"])
    pc, fp = stopped_at(task["context"])
    for _ in range(FRAMES_MAX):
        if pc == 0:
            return
        yield pc
        if not low <= fp < low + 65536:
            return
        pc, above = word(fp + 8), word(fp)
        if above <= fp and above != 0:
            return
        fp = above


def place(pc):
    block = None
    try:
        block = gdb.block_for_pc(pc - 1)  # a return address may be the first byte of the next function
    except RuntimeError:
        pass
    while block is not None and block.function is None:
        block = block.superblock
    name = block.function.name if block is not None else CANNOT_KNOW
    line = gdb.find_pc_line(pc - 1)
    where = "%s:%d" % (line.symtab.filename, line.line) if line.symtab is not None else CANNOT_KNOW
    return "%s at %s" % (name, where)


def text(pointer):
    return pointer.string() if int(pointer) != 0 else "-"


def span(ns):
    for unit, size in (("s", 10**9), ("ms", 10**6), ("us", 10**3)):
        if ns >= size:
            return "%.1f%s" % (ns / size, unit)
    return "%dns" % ns


def tasks_of(worker):
    table = worker["tasks"].dereference()
    for chunk in range(int(table["chunk_count"])):
        for i in range(TASKS_PER_CHUNK):
            task = table["chunks"][chunk][i]
            if str(task["state"]) != "TASK_FREE":
                yield task


def tell(worker, task, backtrace):
    state = str(task["state"]).replace("TASK_", "").lower()
    line = "worker %d task %d.%d \"%s\" %s" % (int(worker["index"]), int(task["index"]), int(task["generation"]), text(task["name"]), state)
    if state == "parked":  # a worker asleep in poll has read the clock when it last woke, so this is at least how long
        line += " in \"%s\" for %s" % (text(task["what"]), span(int(worker["now"]) - int(task["parked_at"])))
    if int(task["cancel"]) != 0:
        line += " cancelled %s" % task["cancel"]
    if int(task["story"]) != 0:
        line += " request %#x" % int(task["story"])
    print(line)
    if backtrace and state == "parked":
        number = -1
        for number, pc in enumerate(frames(task)):
            print("    #%d %#x %s" % (number, pc, place(pc)))
        if number < 0:
            print("    (its stack is not in this core)")


class Tasks(gdb.Command):
    """Every live task of every worker. weir-tasks -b adds a backtrace of each parked one."""

    def __init__(self):
        super().__init__("weir-tasks", gdb.COMMAND_STACK)

    def invoke(self, argument, from_tty):
        backtrace = "-b" in gdb.string_to_argv(argument)
        workers = gdb.parse_and_eval("workers_all")
        low, high = workers.type.range()
        total = 0
        for i in range(low, high + 1):
            if int(workers[i]) == 0:
                continue
            worker = workers[i].dereference()
            for task in tasks_of(worker):
                tell(worker, task, backtrace)
                total += 1
        print("%d tasks" % total)


Tasks()
