"""System calls that foreign-file work never needs are refused by the kernel (seccomp BPF), on x86-64 and 64-bit ARM.

Takes nothing but the process's own id, gives nothing back; raises OSError where the kernel or the processor is not supported. What is
denied: starting programs and processes (threads are fine), sockets, signals to others, debugging, mounts and namespaces, keys, BPF,
io_uring, clocks, modules, and changing owner, mode or times of files (which Landlock does not cover). Calls that are newer than this
list do not exist for the worker.
"""

from __future__ import annotations

import ctypes
import errno
import platform
import struct
from collections.abc import Iterable

from fairlead.security import kernel

_MODE_FILTER = 2
_NEWEST_KNOWN = 462  # numbers above 424 are the same on every architecture
_X32_BIT = 0x4000_0000

# struct seccomp_data: nr at 0, arch at 4, arguments from 16 on, 8 bytes each, low half first on both processors.
_LOAD, _EQUAL, _AT_LEAST, _ABOVE, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x25, 0x45, 0x06
_ALLOW, _ERRNO, _KILL = 0x7FFF_0000, 0x0005_0000, 0x8000_0000
_AT_NUMBER, _AT_ARCH, _AT_ARGUMENTS = 0, 4, 16

_CLONE_THREAD = 0x0001_0000
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C

# name: (x86-64, arm64); None where the processor never had it.
_DENIED: dict[str, tuple[int | None, int | None]] = {
    # other programs and processes
    "execve": (59, 221),
    "execveat": (322, 281),
    "fork": (57, None),
    "vfork": (58, None),
    "setsid": (112, 157),
    "setpgid": (109, 154),
    "kill": (62, 129),
    "tkill": (200, 130),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "pidfd_send_signal": (424, 424),
    "pidfd_open": (434, 434),
    "pidfd_getfd": (438, 438),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "kcmp": (312, 272),
    # network
    "socket": (41, 198),
    "connect": (42, 203),
    "bind": (49, 200),
    "listen": (50, 201),
    "accept": (43, 202),
    "accept4": (288, 242),
    # mounts, namespaces, root folder
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "unshare": (272, 97),
    "setns": (308, 268),
    # the kernel itself
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "keyctl": (250, 219),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "reboot": (169, 142),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "acct": (163, 89),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "syslog": (103, 116),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "clock_adjtime": (305, 266),
    "adjtimex": (159, 171),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "iopl": (172, None),
    "ioperm": (173, None),
    "modify_ldt": (154, None),
    "personality": (135, 92),
    "fanotify_init": (300, 262),
    "fanotify_mark": (301, 263),
    "vhangup": (153, 58),
    "memfd_secret": (447, 447),
    # files by handle; owner, mode, times and attributes; devices and links
    "open_by_handle_at": (304, 265),
    "name_to_handle_at": (303, 264),
    "chmod": (90, None),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "fchmodat2": (452, 452),
    "chown": (92, None),
    "fchown": (93, 55),
    "lchown": (94, None),
    "fchownat": (260, 54),
    "setxattr": (188, 5),
    "lsetxattr": (189, 6),
    "fsetxattr": (190, 7),
    "removexattr": (197, 14),
    "lremovexattr": (198, 15),
    "fremovexattr": (199, 16),
    "utime": (132, None),
    "utimes": (235, None),
    "futimesat": (261, None),
    "utimensat": (280, 88),
    "mknod": (133, None),
    "mknodat": (259, 33),
    "link": (86, None),
    "linkat": (265, 37),
    "symlink": (88, None),
    "symlinkat": (266, 36),
    # who it is
    "setuid": (105, 146),
    "setgid": (106, 144),
    "setreuid": (113, 145),
    "setregid": (114, 143),
    "setresuid": (117, 147),
    "setresgid": (119, 149),
    "setgroups": (116, 159),
    "setfsuid": (122, 151),
    "setfsgid": (123, 152),
    "capset": (126, 91),
    # shared with other processes
    "mq_open": (240, 180),
    "shmget": (29, 194),
    "shmat": (30, 196),
    "msgget": (68, 186),
    "semget": (64, 190),
}
_CLONE, _CLONE3, _TGKILL, _PRCTL, _PRLIMIT, _IOCTL = (56, 220), (435, 435), (234, 131), (157, 167), (302, 261), (16, 29)
_PROCESSORS = {"x86_64": (0, 0xC000_003E), "aarch64": (1, 0xC000_00B7)}  # column above, AUDIT_ARCH_*

_Instruction = tuple[int, int, int, int]


def restrict(own_pid: int) -> None:
    """Install the filter for this process for good; it holds for all threads that it starts. Needs no_new_privs or root."""
    machine = platform.machine()
    if machine not in _PROCESSORS:
        raise OSError(errno.ENOSYS, f"there is no filter for {machine} processors")
    program = b"".join(struct.pack("=HBBI", code, yes, no, value) for code, yes, no, value in _program(*_PROCESSORS[machine], own_pid))
    buffer = ctypes.create_string_buffer(program, len(program))
    length = len(program) // 8
    header = struct.pack("@HP", length, ctypes.addressof(buffer))
    holder = ctypes.create_string_buffer(header, len(header))
    kernel.prctl_pointer(kernel.PR_SET_SECCOMP, _MODE_FILTER, ctypes.c_void_p(ctypes.addressof(holder)))


def _program(column: int, arch: int, own_pid: int) -> Iterable[_Instruction]:
    """Yield (code, jump if true, jump if false, value); jumps count instructions to skip."""
    yield (_LOAD, 0, 0, _AT_ARCH)
    yield (_EQUAL, 1, 0, arch)
    yield (_RETURN, 0, 0, _KILL)
    yield (_LOAD, 0, 0, _AT_NUMBER)
    if column == 0:
        yield (_AT_LEAST, 0, 1, _X32_BIT)  # the x32 ABI would pass by other numbers
        yield (_RETURN, 0, 0, _KILL)
    yield (_ABOVE, 0, 1, _NEWEST_KNOWN)
    yield (_RETURN, 0, 0, _ERRNO | errno.ENOSYS)
    yield (_EQUAL, 0, 1, _CLONE3[column])  # its flags lie in memory, which no filter can read; the C library falls back to clone
    yield (_RETURN, 0, 0, _ERRNO | errno.ENOSYS)
    for numbers in _DENIED.values():
        number = numbers[column]
        if number is not None:
            yield (_EQUAL, 0, 1, number)
            yield (_RETURN, 0, 0, _ERRNO | errno.EPERM)
    yield from _by_argument(_CLONE[column], 0, (_ANY_BIT, _CLONE_THREAD), allows=True)
    yield from _by_argument(_TGKILL[column], 0, (_EQUAL, own_pid), allows=True)  # abort() and raise() end here
    yield from _by_argument(_PRLIMIT[column], 0, (_EQUAL, 0), allows=True)
    yield from _by_argument(_PRCTL[column], 0, (_EQUAL, kernel.PR_SET_PDEATHSIG), allows=False)
    yield from _by_argument(_IOCTL[column], 1, (_EQUAL, _TIOCSTI), allows=False)
    yield from _by_argument(_IOCTL[column], 1, (_EQUAL, _TIOCLINUX), allows=False)
    yield (_RETURN, 0, 0, _ALLOW)


def _by_argument(number: int, argument: int, test: tuple[int, int], *, allows: bool) -> Iterable[_Instruction]:
    """Refuse call `number` unless (`allows`) or where the low half of its argument passes the test. Reloads the number after it."""
    code, value = test
    yield (_EQUAL, 0, 4, number)
    yield (_LOAD, 0, 0, _AT_ARGUMENTS + 8 * argument)
    yield (code, 1, 0, value) if allows else (code, 0, 1, value)
    yield (_RETURN, 0, 0, _ERRNO | errno.EPERM)
    yield (_LOAD, 0, 0, _AT_NUMBER)
