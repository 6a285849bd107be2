// Whatever the bytes, a WAV file is refused with an Error or gives finite samples, no more than its bytes.

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "headscope/audio.h"
#include "law.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace headscope;
  try {
    const Audio audio = parse_wav({reinterpret_cast<const std::byte*>(data), size}, "fuzz");
    law(!audio.samples.empty() && audio.samples.size() <= size, "samples are no more than bytes");
    law(audio.rate >= kSlowestRate && audio.rate <= kFastestRate, "the rate is one of those allowed");
    for (const float x : audio.samples) law(std::isfinite(x), "samples are finite");
  } catch (const Error& error) {
    law(std::string(error.what()).find('\n') == std::string::npos, "an Error is one line");
  }
  return 0;
}
