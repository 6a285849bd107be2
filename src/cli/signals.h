#pragma once

/// Ctrl-C and SIGTERM: the program ends at once with status 128 + signal, except while a file is
/// being written; then it ends as soon as the file is whole.
namespace headscope::cli {

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
