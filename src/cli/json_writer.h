#pragma once

#include <cmath>
#include <concepts>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

/// JSON written as it comes: f32 with as many digits as it takes to read the same number again.
namespace headscope::cli {

class JsonWriter {
 public:
  JsonWriter& begin_object() { return open('{'); }
  JsonWriter& end_object() { return close('}'); }
  JsonWriter& begin_array() { return open('['); }
  JsonWriter& end_array() { return close(']'); }
  JsonWriter& key(std::string_view name);

  JsonWriter& value(std::string_view text);
  JsonWriter& value(const char* text) { return value(std::string_view(text)); }
  JsonWriter& value(const std::string& text) { return value(std::string_view(text)); }
  JsonWriter& value(bool truth);
  JsonWriter& value(std::integral auto number) { return raw(std::to_string(number)); }
  /// NaN and infinities become null: JSON has no word for them.
  JsonWriter& value(float number);
  JsonWriter& value(double number);
  JsonWriter& null() { return raw("null"); }

  template <typename T>
  JsonWriter& field(std::string_view name, const T& what) {
    key(name);
    return value(what);
  }
  template <typename T>
  JsonWriter& array(std::string_view name, std::span<const T> numbers) {
    key(name).begin_array();
    for (const T& number : numbers) value(number);
    return end_array();
  }

  /// The document, with a line end.
  [[nodiscard]] std::string take() && { return std::move(out_) + '\n'; }

 private:
  JsonWriter& open(char bracket);
  JsonWriter& close(char bracket);
  JsonWriter& raw(std::string_view text);
  void separate();

  std::string out_;
  std::vector<bool> has_items_;  ///< of every open bracket
  bool after_key_ = false;
};

}  // namespace headscope::cli
