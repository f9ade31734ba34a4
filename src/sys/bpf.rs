//! Instructions of classic BPF, as the kernel takes them for a group of sockets. It owns their encoding and knows no
//! program.

/// One instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    pub(super) code: u16,
    pub(super) if_true: u8,
    pub(super) if_false: u8,
    pub(super) operand: u32,
}

/// Loads at this offset and above count from the network header instead of the payload (`SKF_NET_OFF`).
pub const NETWORK: u32 = 0xFFF0_0000;

impl Instruction {
    /// A = the 32-bit word at `offset`, big-endian. Past the end of the packet the program ends and returns 0.
    #[must_use]
    pub const fn load_word(offset: u32) -> Self {
        Self::new(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset)
    }

    /// A = the 16-bit word at `offset`, big-endian. Past the end of the packet the program ends and returns 0.
    #[must_use]
    pub const fn load_half(offset: u32) -> Self {
        Self::new(libc::BPF_LD | libc::BPF_H | libc::BPF_ABS, offset)
    }

    /// A = the length of the payload.
    #[must_use]
    pub const fn load_length() -> Self {
        Self::new(libc::BPF_LD | libc::BPF_W | libc::BPF_LEN, 0)
    }

    /// A = what was stored in `slot`.
    #[must_use]
    pub const fn load_stored(slot: u32) -> Self {
        Self::new(libc::BPF_LD | libc::BPF_MEM, slot)
    }

    /// Stores A in `slot`, of which there are 16.
    #[must_use]
    pub const fn store(slot: u32) -> Self {
        Self::new(libc::BPF_ST, slot)
    }

    /// X = A.
    #[must_use]
    pub const fn to_x() -> Self {
        Self::new(libc::BPF_MISC | libc::BPF_TAX, 0)
    }

    /// A = A xor X.
    #[must_use]
    pub const fn xor_x() -> Self {
        Self::new(libc::BPF_ALU | libc::BPF_XOR | libc::BPF_X, 0)
    }

    /// A = A * `factor`, modulo 2^32.
    #[must_use]
    pub const fn multiply(factor: u32) -> Self {
        Self::new(libc::BPF_ALU | libc::BPF_MUL | libc::BPF_K, factor)
    }

    /// A = A + `summand`, modulo 2^32.
    #[must_use]
    pub const fn add(summand: u32) -> Self {
        Self::new(libc::BPF_ALU | libc::BPF_ADD | libc::BPF_K, summand)
    }

    /// A = A >> `bits`.
    #[must_use]
    pub const fn shift_right(bits: u32) -> Self {
        Self::new(libc::BPF_ALU | libc::BPF_RSH | libc::BPF_K, bits)
    }

    /// A = A modulo `divisor`, which the kernel refuses where it is 0.
    #[must_use]
    pub const fn modulo(divisor: u32) -> Self {
        Self::new(libc::BPF_ALU | libc::BPF_MOD | libc::BPF_K, divisor)
    }

    /// Skips `skipped` instructions unless A >= `bound`.
    #[must_use]
    pub const fn unless_at_least(bound: u32, skipped: u8) -> Self {
        Self { if_false: skipped, ..Self::new(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K, bound) }
    }

    /// Skips `skipped` instructions unless A = `value`.
    #[must_use]
    pub const fn unless_equal(value: u32, skipped: u8) -> Self {
        Self { if_false: skipped, ..Self::new(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, value) }
    }

    /// Ends the program; A is the index of the socket.
    #[must_use]
    pub const fn return_a() -> Self {
        Self::new(libc::BPF_RET | libc::BPF_A, 0)
    }

    #[allow(
        clippy::cast_possible_truncation,
        reason = "operation codes have 16 bits in the kernel"
    )]
    const fn new(code: u32, operand: u32) -> Self {
        Instruction { code: code as u16, if_true: 0, if_false: 0, operand }
    }
}
