#pragma once

#include <functional>
#include <map>
#include <string>
#include <string_view>

#include "headscope/tensor.h"

namespace headscope {

/// Throws kNotFound, naming the tensor that `file` lacks and the nearest name it has.
[[noreturn]] void missing_tensor(std::string_view file,
                                 std::string_view name,
                                 const std::map<std::string, AnyView, std::less<>>& tensors);

}  // namespace headscope
