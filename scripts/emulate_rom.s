# The ROM that scripts/emulate gives its machine in place of a BIOS. From reset it goes straight into long mode and
# into the kernel, by Linux's 64-bit boot protocol; the second reset is the guest's end and switches the machine off
# (a flag in CMOS memory tells the two apart). Segment F000 begins with this ROM, so offsets count from `start`.
# scripts/emulate has laid out below 1 MB: 0x10000 boot parameters, 0x12000 page tables that map 4 GB onto itself.
        .code16
start:  movb    $0x7f, %al
        outb    %al, $0x70
        inb     $0x71, %al
        testb   %al, %al
        jnz     off
        movb    $1, %al
        outb    %al, $0x71
        lgdtl   %cs:(table - start)
        movl    $0x20, %eax             # physical address extension
        movl    %eax, %cr4
        movl    $0x12000, %eax
        movl    %eax, %cr3
        movl    $0xc0000080, %ecx       # EFER: long mode
        xorl    %edx, %edx
        movl    $0x100, %eax
        wrmsr
        movl    $0x80000011, %eax       # paging and protection
        movl    %eax, %cr0
        ljmpl   $0x10, $(0xffff0000 + enter - start)
off:    movw    $(word - start), %si    # what Bochs takes for a switch
        movw    $0x8900, %dx
        movw    $8, %cx
        cld
        rep outsb %cs:(%si), %dx
        hlt
word:   .ascii  "Shutdown"
table:  .word   31
        .long   0xffff0000 + segments - start
segments: .quad 0, 0, 0x00af9b000000ffff, 0x00cf93000000ffff

        .code64
enter:  movl    $0x18, %eax
        movl    %eax, %ds
        movl    %eax, %es
        movl    %eax, %ss
        movl    $0x10000, %esi
        movl    $0x1000000, %eax        # where the kernel begins
        jmp     *%rax

        .code16
        .org    0xfff0                  # the first instruction after reset
        jmp     start
        .org    0x10000
