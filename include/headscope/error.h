#pragma once

#include <stdexcept>
#include <string>
#include <string_view>

namespace headscope {

/// What went wrong, in classes that a caller can act on.
enum class ErrorCode {
  kUsage,        ///< The call itself makes no sense (unknown verb, contradicting options).
  kShape,        ///< Shapes, ranks or strides do not fit together.
  kDType,        ///< An element type other than the one needed.
  kRange,        ///< An index (layer, head, row, token) outside its range.
  kNotFound,     ///< A file, tensor, model or name that is not there.
  kFormat,       ///< A file or request that breaks its format's rules.
  kUnsupported,  ///< Well-formed, but something this build cannot do (yet).
  kInput,        ///< Text or data that the model cannot take (not UTF-8, empty, too long).
  kIo,           ///< The operating system refused to read or write.
  kResources,    ///< Memory, disk or threads ran out.
  kInternal,     ///< A broken promise inside headscope itself: a bug.
};

/// The name of a code as printed in --json output, for example "shape".
std::string_view name(ErrorCode code);

/// Exit status of the command line for a code: 2 usage, 3 bad input, 4 resources, 70 internal.
int exit_status(ErrorCode code);

/// The only exception type headscope throws.
/// The message is one line that says where, what was expected and what was found:
/// `[focus] expected k [2,64,64], found [8,128,80]`.
class Error : public std::runtime_error {
 public:
  Error(ErrorCode code, const std::string& message) : std::runtime_error(message), code_(code) {}

  [[nodiscard]] ErrorCode code() const { return code_; }

 private:
  ErrorCode code_;
};

}  // namespace headscope
