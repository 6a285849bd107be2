#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "headscope/error.h"

/// JSON from files that nobody has vouched for: config.json, tokenizer.json, headers of weights.
/// Every complaint is one line, `[config.json] expected "hidden_size" to be an integer, found
/// "wide"`.
namespace headscope::json {

using Value = nlohmann::json;

/// What a text may cost: deeper or longer ones are refused before anything is built.
struct Limits {
  std::size_t depth = 128;                     ///< nested arrays and objects
  std::size_t bytes = std::size_t{512} << 20;  ///< length of the text
};

/// Asked at every key, scalar and bracket (see nlohmann's parser_callback_t): what it answers false
/// to is not kept, so that a large document need never stand in memory whole. It may throw Error.
using Callback = Value::parser_callback_t;

/// The value a text holds; of equal keys in one object the last counts, as in Python. `name` is
/// what errors call the text.
/// Errors: kFormat with line and column (not JSON, not UTF-8, too deep), kResources (too long).
Value parse(std::string_view text,
            std::string_view name,
            const Limits& limits = {},
            const Callback& callback = nullptr);

/// nullptr when the key is absent or null. Errors: kFormat when `object` is not an object.
const Value* find(const Value& object, std::string_view key, std::string_view where);

/// Remembers the keys that find(), and so require() and get_or(), is asked for on this thread while
/// it lives: what a file may say, as its readers know it. The innermost one listens.
class Asked {
 public:
  Asked();
  ~Asked();
  Asked(const Asked&) = delete;
  Asked& operator=(const Asked&) = delete;
  [[nodiscard]] const std::set<std::string, std::less<>>& keys() const { return keys_; }

 private:
  friend const Value* find(const Value& object, std::string_view key, std::string_view where);
  std::set<std::string, std::less<>> keys_;
  Asked* outer_;
};

/// A value as it appears in messages: scalars as written (cut when long), others by their type.
std::string describe(const Value& value);

/// A text in quotes, escaped and cut when long: how messages show names from files.
std::string quote(std::string_view text);

namespace detail {
[[noreturn]] void wrong(const Value& value,
                        std::string_view what,
                        std::string_view expected,
                        std::string_view where);
[[noreturn]] void missing(std::string_view key, std::string_view where);
bool as_bool(const Value& value, std::string_view what, std::string_view where);
std::int64_t as_signed(const Value& value,
                       std::string_view what,
                       std::int64_t least,
                       std::int64_t most,
                       std::string_view where);
std::uint64_t as_unsigned(const Value& value,
                          std::string_view what,
                          std::uint64_t most,
                          std::string_view where);
double as_number(const Value& value, std::string_view what, double most, std::string_view where);
const std::string& as_text(const Value& value, std::string_view what, std::string_view where);

template <typename T>
inline constexpr bool is_vector = false;
template <typename T>
inline constexpr bool is_vector<std::vector<T>> = true;
}  // namespace detail

/// A value as T: bool, an integer type, float, double, std::string, Value, or a std::vector of
/// these. Integers must be written as integers and fit T; 3 is a fine float, 3.0 is no integer.
/// `what` names the value in errors. Errors: kFormat.
template <typename T>
T as(const Value& value, std::string_view what, std::string_view where) {
  if constexpr (std::is_same_v<T, Value>) {
    return value;
  } else if constexpr (std::is_same_v<T, bool>) {
    return detail::as_bool(value, what, where);
  } else if constexpr (std::is_integral_v<T> && std::is_signed_v<T>) {
    using Range = std::numeric_limits<T>;
    return static_cast<T>(detail::as_signed(value, what, Range::min(), Range::max(), where));
  } else if constexpr (std::is_integral_v<T>) {
    return static_cast<T>(detail::as_unsigned(value, what, std::numeric_limits<T>::max(), where));
  } else if constexpr (std::is_floating_point_v<T>) {
    return static_cast<T>(
        detail::as_number(value, what, static_cast<double>(std::numeric_limits<T>::max()), where));
  } else if constexpr (detail::is_vector<T>) {
    if (!value.is_array()) detail::wrong(value, what, "an array", where);
    T out;
    out.reserve(value.size());
    for (std::size_t i = 0; i < value.size(); ++i) {
      out.push_back(as<typename T::value_type>(
          value[i], std::string(what) + '[' + std::to_string(i) + ']', where));
    }
    return out;
  } else {
    static_assert(std::is_same_v<T, std::string>, "json::as knows no such type");
    return detail::as_text(value, what, where);
  }
}

/// The value of a key that must be there (null counts as absent). Errors: kFormat.
template <typename T>
T require(const Value& object, std::string_view key, std::string_view where) {
  const Value* value = find(object, key, where);
  if (value == nullptr) detail::missing(key, where);
  return as<T>(*value, key, where);
}

/// The value of a key, or `fallback` when it is absent or null. Errors: kFormat for a wrong type.
template <typename T>
T get_or(const Value& object,
         std::string_view key,
         std::type_identity_t<T> fallback,
         std::string_view where) {
  const Value* value = find(object, key, where);
  return value == nullptr ? std::move(fallback) : as<T>(*value, key, where);
}

}  // namespace headscope::json
