#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <string>

#include "formats/scratch.h"
#include "headscope/audio.h"
#include "headscope/safetensors.h"
#include "media/made_wav.h"

namespace headscope {
namespace {

using media::put;
using media::wav;

Audio parse(const std::string& file) { return parse_wav(std::as_bytes(std::span(file)), "a.wav"); }

ErrorCode code_of(const std::string& file) {
  try {
    (void)parse(file);
  } catch (const Error& error) {
    EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos) << error.what();
    return error.code();
  }
  return ErrorCode::kInternal;
}

TEST(Wav, EveryCodingOfTheSameSoundReadsTheSame) {
  const double sound[] = {0.0, 0.5, -0.5, -1.0, 0.25, -0.75};
  for (const auto& [tag, bits] : {std::pair{1, 8}, {1, 16}, {1, 24}, {1, 32}, {3, 32}, {3, 64}}) {
    std::string data;
    for (const double x : sound) data += media::sample(x, tag, bits);
    const Audio audio = parse(wav(tag, 1, 16000, bits, data));
    ASSERT_EQ(audio.samples.size(), std::size(sound)) << tag << " " << bits;
    EXPECT_EQ(audio.rate, 16000);
    for (std::size_t i = 0; i < std::size(sound); ++i)
      EXPECT_EQ(audio.samples[i], static_cast<float>(sound[i])) << tag << " " << bits << " " << i;
  }
}

TEST(Wav, ChannelsAreAveraged) {
  const std::string data = put(8192, 2) + put(-16384, 2) + put(24576, 2) + put(16384, 2) + put(0, 2) + put(0, 2);
  const Audio audio = parse(wav(1, 3, 44100, 16, data));
  ASSERT_EQ(audio.samples.size(), 2U);
  EXPECT_FLOAT_EQ(audio.samples[0], (0.25F - 0.5F + 0.75F) / 3.0F);
  EXPECT_FLOAT_EQ(audio.samples[1], 0.5F / 3.0F);
  EXPECT_DOUBLE_EQ(audio.seconds(), 2.0 / 44100.0);
}

TEST(Wav, OtherChunksOfOddLengthAreSteppedOver) {
  const std::string file = wav(1, 1, 8000, 16, put(16384, 2));
  const std::string odd = file.substr(0, 12) + "LIST" + put(3, 4) + "abc" + std::string(1, '\0') + file.substr(12);
  EXPECT_EQ(parse(odd).samples, std::vector<float>{0.5F});
}

TEST(Wav, ExtensibleFormatNamesItsCodingFurtherBehind) {
  const std::string more = put(22, 2) + put(16, 2) + put(0, 4) + put(1, 2) + std::string(14, 'x');
  EXPECT_EQ(parse(wav(0xFFFE, 1, 8000, 16, put(-16384, 2), more)).samples, std::vector<float>{-0.5F});
}

TEST(Wav, ARecordingThatWasCutOffGivesWhatIsThere) {
  const std::string file = wav(1, 1, 8000, 16, put(16384, 2) + put(8192, 2) + put(4096, 2));
  EXPECT_EQ(parse(file.substr(0, file.size() - 1)).samples, (std::vector<float>{0.5F, 0.25F}));
  std::string piped = file;
  piped.replace(piped.find("data") + 4, 4, put(-1, 4));
  EXPECT_EQ(parse(piped).samples.size(), 3U);
}

TEST(Wav, FilesThatLieAreRefusedInOneLine) {
  const std::string good = wav(1, 1, 8000, 16, put(1, 2));
  EXPECT_EQ(code_of(""), ErrorCode::kFormat);
  EXPECT_EQ(code_of("RIFF"), ErrorCode::kFormat);
  EXPECT_EQ(code_of("RF64" + good.substr(4)), ErrorCode::kUnsupported);
  EXPECT_EQ(code_of(good.substr(0, 12)), ErrorCode::kFormat);
  EXPECT_EQ(code_of(good.substr(0, 36)), ErrorCode::kFormat);  // no data
  EXPECT_EQ(code_of(good.substr(0, 12) + good.substr(36)), ErrorCode::kFormat);  // no fmt
  EXPECT_EQ(code_of(wav(1, 1, 8000, 16, "")), ErrorCode::kInput);
  EXPECT_EQ(code_of(wav(7, 1, 8000, 8, "aa")), ErrorCode::kUnsupported);   // mu-law
  EXPECT_EQ(code_of(wav(1, 1, 8000, 12, "aaaa")), ErrorCode::kUnsupported);
  EXPECT_EQ(code_of(wav(1, 1, 8000, 0, "aaaa")), ErrorCode::kUnsupported);
  EXPECT_EQ(code_of(wav(1, 0, 8000, 16, "aaaa")), ErrorCode::kFormat);
  EXPECT_EQ(code_of(wav(1, 1, 1, 16, "aaaa")), ErrorCode::kUnsupported);
  EXPECT_EQ(code_of(wav(1, 1, -1, 16, "aaaa")), ErrorCode::kUnsupported);
  const float nan = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(code_of(wav(3, 1, 8000, 32, put(std::bit_cast<std::int32_t>(nan), 4))), ErrorCode::kInput);
  std::string frame = good;
  frame.replace(32, 2, put(3, 2));
  EXPECT_EQ(code_of(frame), ErrorCode::kFormat);
}

TEST(Wav, EveryPrefixAndEveryByteIsSurvived) {
  const std::string good = wav(1, 2, 8000, 24, std::string(18, '\3'));
  for (std::size_t n = 0; n <= good.size(); ++n) {
    try {
      (void)parse(good.substr(0, n));
    } catch (const Error&) {
    }
  }
  for (std::size_t at = 0; at < good.size(); ++at) {
    for (const char byte : {'\0', '\1', '\x7f', '\x80', '\xff'}) {
      std::string file = good;
      file[at] = byte;
      try {
        EXPECT_LE(parse(file).samples.size(), file.size());
      } catch (const Error&) {
      }
    }
  }
}

// Each file's name begins with the answer it must get.
TEST(Wav, HostileFilesGetTheAnswerInTheirNames) {
  int files = 0;
  for (const auto& entry :
       std::filesystem::directory_iterator(std::filesystem::path(HEADSCOPE_SOURCE_DIR) / "tests/hostile/wav")) {
    const std::string name = entry.path().filename().string();
    std::string answer = "well";
    try {
      (void)read_wav(entry.path());
    } catch (const Error& error) {
      answer = headscope::name(error.code());
    }
    EXPECT_EQ(name.substr(0, name.find('-')), answer) << name;
    ++files;
  }
  EXPECT_GE(files, 29);
}

TEST(Wav, ReadsFilesAndNamesTheOneThatIsNotThere) {
  const Scratch scratch;
  const auto path = scratch / "tone.wav";
  write_file(path, wav(1, 1, 22050, 16, put(16384, 2)));
  EXPECT_EQ(read_wav(path).rate, 22050);
  try {
    (void)read_wav(scratch / "none.wav");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kNotFound);
    EXPECT_NE(std::string(error.what()).find("none.wav"), std::string::npos);
  }
}

}  // namespace
}  // namespace headscope
