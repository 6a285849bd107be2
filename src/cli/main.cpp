#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "cli/app.h"
#include "cli/signals.h"
#include "headscope/error.h"

int main(int count, char** words) {
  headscope::cli::handle_signals();
  const std::vector<std::string> arguments(words + (count > 0 ? 1 : 0), words + count);
  std::string out;
  std::string complaint;
  int status = headscope::cli::run(arguments, out, complaint);
  const bool written =
      std::fwrite(out.data(), 1, out.size(), stdout) == out.size() && std::fflush(stdout) == 0;
  if (!written) {
    complaint = std::string("[output] ") + std::strerror(errno);
    status = headscope::exit_status(headscope::ErrorCode::kIo);
  }
  if (!complaint.empty()) std::fprintf(stderr, "headscope: %s\n", complaint.c_str());
  return status;
}
