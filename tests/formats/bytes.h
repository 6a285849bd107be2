#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "headscope/error.h"

namespace headscope {

inline std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text));
}

inline std::string little_endian(std::uint64_t number) {
  std::string out(8, '\0');
  for (std::size_t i = 0; i < 8; ++i) out[i] = static_cast<char>(number >> (8 * i));
  return out;
}

/// A safetensors file made by hand: any header, any data.
inline std::string file_of(std::string_view header, std::string_view data) {
  return little_endian(header.size()) + std::string(header) + std::string(data);
}

/// The code of the Error a call throws; any other end fails the test that asks.
template <typename Call>
std::string outcome(Call call) {
  try {
    call();
  } catch (const Error& error) {
    return std::string(name(error.code()));
  }
  return "well";
}

/// What the Error a call throws says.
template <typename Call>
std::string message_of(Call call) {
  try {
    call();
  } catch (const Error& error) {
    return error.what();
  }
  return "nothing was thrown";
}

}  // namespace headscope
