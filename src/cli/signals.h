#pragma once

/// Ctrl-C and SIGTERM: the program ends at once with status 128 + signal, except while a file is
/// being written; then it ends as soon as the file is whole.
namespace headscope::cli {

/// To be called before there are other threads: a thread of its own waits for the signals, and all others block them.
/// A handler that ran inside of a product would write over its data: oneDNN's products of a turned f32 matrix keep some
/// below the stack pointer (measured with AVX-512: a third of such programs crash).
void handle_signals();

/// While one is alive, a signal waits.
class Writing {
 public:
  Writing();
  ~Writing();
  Writing(const Writing&) = delete;
  Writing& operator=(const Writing&) = delete;
};

/// Whether a signal waits: what takes long should come to an end.
bool signal_waits();

}  // namespace headscope::cli
