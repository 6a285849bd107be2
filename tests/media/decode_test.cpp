// Pictures, videos and sound: made here byte by byte, decoded by FFmpeg.
#include <gtest/gtest.h>

#include <array>
#include <cmath>

#include "headscope/error.h"
#include "headscope/media.h"

namespace headscope {
namespace {

std::span<const std::byte> bytes(const std::string& text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

std::string ppm(int width, int height) {
  std::string out = "P6\n" + std::to_string(width) + " " + std::to_string(height) + "\n255\n";
  for (int i = 0; i < 3 * width * height; ++i) out += static_cast<char>(i * 7 % 256);
  return out;
}

// Grey frames, each lighter than the last.
std::string y4m(int frames, int width = 8, int height = 4) {
  std::string out =
      "YUV4MPEG2 W" + std::to_string(width) + " H" + std::to_string(height) + " F25:1 Ip C444\n";
  const auto size = static_cast<std::size_t>(width * height);
  for (int n = 0; n < frames; ++n)
    out += "FRAME\n" + std::string(size, static_cast<char>(16 + 10 * n)) +
           std::string(2 * size, '\x80');
  return out;
}

std::string le(std::size_t n, int count = 4) {
  std::string out;
  for (int i = 0; i < count; ++i) out += static_cast<char>(n >> (8 * i) & 0xFF);
  return out;
}

std::string chunk(const std::string& name, const std::string& body) {
  return name + le(body.size()) + body;
}

// Frames of 8 x 4 pixels in a coding, and a header that promises `promised` of them.
std::string avi_of(const std::vector<std::string>& frames,
                   std::size_t promised,
                   const std::string& coding) {
  constexpr std::size_t kSize = 3 * 8 * 4;
  const std::string file = le(40000) + le(0) + le(0) + le(16) + le(promised) + le(0) + le(1) +
                           le(kSize) + le(8) + le(4) + le(0) + le(0) + le(0) + le(0);
  const std::string stream = "vids" + coding + le(0) + le(0) + le(0) + le(1) + le(25) + le(0) +
                             le(promised) + le(kSize) + le(0) + le(0) + le(0) + le(8, 2) + le(4, 2);
  const std::string format = le(40) + le(8) + le(4) + le(1, 2) + le(24, 2) +
                             (coding == "DIB " ? le(0) : coding) + le(kSize) + le(0) + le(0) +
                             le(0) + le(0);
  std::string movi = "movi";
  for (const std::string& frame : frames)
    movi += chunk("00db", frame) + std::string(frame.size() % 2, '\0');
  const std::string strl = "strl" + chunk("strh", stream) + chunk("strf", format);
  const std::string hdrl = "hdrl" + chunk("avih", file) + chunk("LIST", strl);
  return chunk("RIFF", "AVI " + chunk("LIST", hdrl) + chunk("LIST", movi));
}

// Frames of raw pixels, each of one grey.
std::string avi(int frames, std::size_t promised) {
  std::vector<std::string> each;
  for (int n = 0; n < frames; ++n) each.emplace_back(3 * 8 * 4, static_cast<char>(10 * n));
  return avi_of(each, promised, "DIB ");
}

std::string be(std::size_t n, int count) {
  std::string out = le(n, count);
  return {out.rbegin(), out.rend()};
}

std::string segment(int marker, const std::string& body) {
  return std::string("\xFF") + static_cast<char>(marker) + be(body.size() + 2, 2) + body;
}

// 16 x 8n grey pixels: the first 8 x 8 of them 128, the others 160. `more` stands before the rest.
std::string jpeg(const std::string& more, std::size_t n = 1) {
  using namespace std::string_literals;
  const std::string two_codes = "\0\2"s + std::string(14, '\0');  // 00 and 01
  return "\xFF\xD8"s + more + segment(0xDB, std::string(1, '\0') + std::string(64, '\1')) +
         segment(0xC0, "\x08"s + be(8 * n, 2) + be(16, 2) + "\1\1\x11\0"s) +
         segment(0xC4, "\0"s + two_codes + "\0\x08"s) +    // no change of the level, one of 8 bits
         segment(0xC4, "\x10"s + two_codes + "\0\xF0"s) +  // no more numbers, 16 zeros
         segment(0xDA, "\1\1\0\0\x3F\0"s) + "\x07\xFC"s + std::string(n - 1, '\0') + "\xFF\xD9"s;
}

// Exif of one entry, which says which way up the picture is; in the order of big bytes, or little.
std::string exif(std::size_t orientation, bool big) {
  using namespace std::string_literals;
  const auto n = [&](std::size_t x, int count) { return big ? be(x, count) : le(x, count); };
  return segment(0xE1,
                 "Exif\0\0"s + (big ? "MM"s : "II"s) + n(42, 2) + n(8, 4) + n(1, 2) + n(0x112, 2) +
                     n(3, 2) + n(1, 4) + n(orientation, 2) + n(0, 2) + n(0, 4));
}

std::string png_chunk(const std::string& name, const std::string& body, std::uint32_t wrong = 0) {
  std::uint32_t crc = ~0U;
  for (const char c : name + body) {
    crc ^= static_cast<unsigned char>(c);
    for (int bit = 0; bit < 8; ++bit) crc = crc >> 1U ^ ((crc & 1U) != 0 ? 0xEDB88320U : 0U);
  }
  return be(body.size(), 4) + name + body + be(~crc ^ wrong, 4);
}

// A PNG in the pieces that it is made of: the beginning, two chunks of pixels, the end. 40 x 30
// grey pixels, stored as they are: the columns' numbers.
std::array<std::string, 4> png_pieces(std::uint32_t wrong_in_pixels = 0) {
  using namespace std::string_literals;
  std::string raw;
  for (int y = 0; y < 30; ++y) {
    raw += '\0';
    for (int x = 0; x < 40; ++x) raw += static_cast<char>(x);
  }
  std::size_t a = 1, b = 0;  // Adler-32
  for (const char c : raw) {
    a = (a + static_cast<unsigned char>(c)) % 65521;
    b = (b + a) % 65521;
  }
  const std::string packed =
      "\x78\1\1"s + le(raw.size(), 2) + le(~raw.size() & 0xFFFFU, 2) + raw + be(b << 16U | a, 4);
  return {"\x89PNG\r\n\x1A\n"s + png_chunk("IHDR", be(40, 4) + be(30, 4) + "\x08\0\0\0\0"s),
          png_chunk("IDAT", packed.substr(0, 500)),
          png_chunk("IDAT", packed.substr(500), wrong_in_pixels),
          png_chunk("IEND", "")};
}

// 4 x 3 pixels of 24 bits, each of them 77, in a file that says it has `size` bytes.
std::string bmp(std::size_t size) {
  return "BM" + le(size) + le(0) + le(54) + le(40) + le(4) + le(3) + le(1, 2) + le(24, 2) + le(0) +
         le(36) + le(0) + le(0) + le(0) + le(0) + std::string(36, 77);
}

// 100 x 100 pixels of which no more than ten rows are there, with an end as of a whole one.
std::string cut_png() {
  using namespace std::string_literals;
  return "\x89PNG\r\n\x1A\n\0\0\0\x0DIHDR\0\0\0d\0\0\0d\x08\2\0\0\0\xFF\x80\2\3\0\0\0\x1AIDAT"
         "\x78\x9C\xED\xC1!\1\0\0\0\2 \xA7;\xDD\x1B\6 \5\0\0\xEE\x0D\x0C\xFF\xDCL\x16\x92"
         "\4B\0\0\0\0IEND\xAE"
         "B`\x82"s;
}

template <typename Body>
void expect_error(ErrorCode code, const std::string& words, const Body& body) {
  try {
    body();
    FAIL() << "no error for " << words;
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code) << error.what();
    EXPECT_NE(std::string(error.what()).find(words), std::string::npos) << error.what();
    EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos);
  }
}

TEST(Sniff, KindsAreToldByContent) {
  using namespace std::string_literals;
  const std::array<std::pair<std::string, MediaKind>, 16> cases = {{
      {"\x89PNG\r\n\x1A\n...."s, MediaKind::kImage},
      {"\xFF\xD8\xFF\xE0"s, MediaKind::kImage},
      {ppm(2, 2), MediaKind::kImage},
      {"RIFF\1\0\0\0WEBPVP8 "s, MediaKind::kImage},
      {"RIFF\1\0\0\0AVI LIST"s, MediaKind::kVideo},
      {"RIFF\1\0\0\0WAVEfmt "s, MediaKind::kAudio},
      {"\0\0\0\x18"
       "ftypisom"s,
       MediaKind::kVideo},
      {y4m(1), MediaKind::kVideo},
      {"fLaC\0"s, MediaKind::kAudio},
      {"MThd\0\0\0\6"s, MediaKind::kMidi},
      {"Старый король"s, MediaKind::kText},
      {"a,b\r\n1,2\r\n"s, MediaKind::kText},
      {"P6 is a format"s, MediaKind::kText},
      {""s, MediaKind::kText},
      {"abc\0def"s, MediaKind::kBytes},
      {"\xC3\x28 no"s, MediaKind::kBytes},
  }};
  for (const auto& [text, kind] : cases) EXPECT_EQ(sniff(bytes(text)), kind) << text;
  // A letter that is cut by the 4096th byte is no reason.
  EXPECT_EQ(sniff(bytes(std::string(4095, 'a') + "ж")), MediaKind::kText);
}

TEST(Sniff, TheByteThatIsNoTextIsNamed) {
  EXPECT_EQ(no_text_at(bytes("a,b\xE9\n1,2\n")), 3);
  EXPECT_EQ(no_text_at(bytes("a,\u0436\n")), -1);
  EXPECT_EQ(no_text_at(bytes(std::string(1, '\0'))), 0);
}

TEST(Bytes, LabelsShowThem) {
  const std::vector<Label> labels = byte_labels(bytes("A\n"));
  EXPECT_EQ(labels[0].text, "byte 0: 41 A");
  EXPECT_EQ(labels[1].text, "byte 1: 0A");
}

#ifdef HEADSCOPE_MEDIA

TEST(Picture, PixelsAreThoseOfTheFile) {
  const std::string file = ppm(37, 5);  // rows that no vector divides
  const Tensor picture = parse_picture(bytes(file), "p.ppm");
  ASSERT_EQ(picture.shape(), (Shape{5, 37, 3}));
  const std::string expected = file.substr(file.size() - 3 * 37 * 5);
  for (std::size_t i = 0; i < expected.size(); ++i)
    ASSERT_EQ(picture.span<std::uint8_t>()[i], static_cast<std::uint8_t>(expected[i])) << i;
}

TEST(Picture, SizesAreCheckedBeforeAnythingIsAllocated) {
  using namespace std::string_literals;
  const std::string png =
      "\x89PNG\r\n\x1A\n\0\0\0\x0DIHDR\0\1\x86\xA0\0\1\x86\xA0\x08\2\0\0\0\x73\x18\xB4\x41"
      "\0\0\0\4IDAT\x78\x9C\x63\x60\0\0\0\0"s;
  const std::string gif =
      "GIF89a\xFF\xFF\xFF\xFF\x80\0\0\0\0\0\xFF\xFF\xFF,\0\0\0\0\xFF\xFF\xFF\xFF\0\2\2\x44\1\0;"s;
  const std::string jpeg =
      "\xFF\xD8\xFF\xE0\0\x10JFIF\0\1\1\0\0\1\0\1\0\0\xFF\xC0\0\x11\x08\xFF\xDC\xFF\xDC\3\1\x22\0\2"
      "\x11"
      "\1\3\x11\1"s +
      std::string(200, '\0');
  for (const std::string& file :
       {png, gif, jpeg, "P6\n100000 100000\n255\n" + std::string(300, '\0')}) {
    expect_error(ErrorCode::kResources, "a picture of at most 67108864 pixels, found", [&] {
      (void)parse_picture(bytes(file), "huge");
    });
  }
  MediaLimits small;
  small.most_pixels = 30;
  expect_error(ErrorCode::kResources, "at most 30 pixels", [&] {
    (void)parse_picture(bytes(ppm(8, 4)), "p", small);
  });
}

TEST(Picture, DamageGivesOneLine) {
  using namespace std::string_literals;
  expect_error(ErrorCode::kFormat, "expected a picture", [] {
    (void)parse_picture(bytes("\x89PNG\r\n\x1A\nxxxx"s), "p");
  });
  expect_error(ErrorCode::kFormat, "found text", [] { (void)parse_picture(bytes("hello"), "p"); });
  expect_error(ErrorCode::kFormat, "[p]", [] {
    (void)parse_picture(bytes(ppm(20, 20).substr(0, 14)), "p");
  });
}

TEST(Picture, WhatIsCutOffIsNoPicture) {
  const auto words = "[p.png] expected a whole picture, found it damaged or cut off";
  expect_error(ErrorCode::kFormat, words, [] { (void)parse_picture(bytes(cut_png()), "p.png"); });
  expect_error(ErrorCode::kFormat, words, [] { (void)parse_clip(bytes(cut_png()), "p.png", 4); });
}

void expect_whole(const std::string& file, const std::string& name) {
  try {
    EXPECT_GT(parse_picture(bytes(file), name).size(), 0);
    EXPECT_EQ(parse_clip(bytes(file), name, 2).total, 1);
  } catch (const Error& error) {
    FAIL() << error.what();
  }
}

void expect_damaged(const std::string& file, const std::string& name) {
  expect_error(ErrorCode::kFormat, "[" + name + "] expected ", [&] {
    (void)parse_picture(bytes(file), name);
  });
}

TEST(Picture, MetadataOfAJpegIsNoneOfItsPixels) {
  using namespace std::string_literals;
  const std::string beyond =
      "II*\0"s + le(8) + le(1, 2) + le(0x10F, 2) + le(2, 2) + le(100) + le(0x5000) + le(0);
  const std::array<std::string, 7> cases = {segment(0xE0, ""),
                                            segment(0xE1, ""),
                                            segment(0xE1, "Exif\0\0"s),
                                            segment(0xE1, "Exif\0\0"s + std::string(16, 'X')),
                                            segment(0xE1, "Exif\0\0"s + beyond),
                                            segment(0xE0, "AVI1"),
                                            "\xFF"s + segment(0xE2, std::string(300, '\xFF'))};
  for (std::size_t i = 0; i < cases.size(); ++i) {
    const std::string name = "case " + std::to_string(i);
    expect_whole(jpeg(cases[i]), name);
    expect_damaged(jpeg(cases[i], 40).substr(0, jpeg(cases[i], 40).size() - 22), name);
  }
  const std::vector<std::string> frames(3, jpeg(cases[3]));
  EXPECT_EQ(parse_clip(bytes(avi_of(frames, 3, "MJPG")), "v.avi", 3).damaged, 0);
}

TEST(Picture, ExifTurnsAJpeg) {
  for (const bool big : {false, true}) {
    const auto level = [](const Tensor& picture, std::int64_t y, std::int64_t x) {
      return static_cast<int>(picture.view<std::uint8_t, 3>()(y, x, 0));
    };
    const Tensor upright = parse_picture(bytes(jpeg(exif(1, big))), "p.jpg");
    ASSERT_EQ(upright.shape(), (Shape{8, 16, 3}));
    EXPECT_NEAR(level(upright, 0, 0), 128, 2);
    EXPECT_NEAR(level(upright, 0, 15), 160, 2);
    const Tensor right = parse_picture(bytes(jpeg(exif(6, big))), "p.jpg");
    ASSERT_EQ(right.shape(), (Shape{16, 8, 3}));
    EXPECT_NEAR(level(right, 0, 0), 128, 2);
    EXPECT_NEAR(level(right, 15, 0), 160, 2);
    const std::string all = exif(6, big);  // cut anywhere it is read, or not
    for (std::size_t n = 0; n + 4 <= all.size(); ++n)
      expect_whole(jpeg(segment(0xE1, all.substr(4, n))), "cut at " + std::to_string(n));
  }
}

TEST(Picture, OfTwoJpegsTheFirstIsRead) {
  const std::string first = jpeg("", 5);
  expect_whole(first + jpeg("", 2), "p.jpg");
  EXPECT_EQ(parse_picture(bytes(first + jpeg("", 2)), "p.jpg").dim(0), 40);
  // Nor does a whole second one make up for the first.
  expect_damaged(first.substr(0, first.size() - 5) + jpeg("", 5), "p.jpg");
}

TEST(Picture, OnlyChunksThatMakePixelsDamageAPng) {
  const auto [head, one, two, end] = png_pieces();
  const std::string text = png_chunk("tEXt", "Comment", 1);
  const Tensor whole = parse_picture(bytes(head + one + two + end), "p.png");
  EXPECT_EQ((whole.view<std::uint8_t, 3>()(29, 39, 1)), 39);
  expect_whole(head + text + one + two + text + end, "bad CRC of a text");
  expect_whole(head + png_chunk("iCCP", "bad") + one + two + end, "bad profile");
  expect_whole(head + one + two, "no end");
  expect_whole(head + one + two + end.substr(0, 9), "cut end");
  expect_whole(head + one + two + png_chunk("IEND", "", 1), "bad CRC of the end");
  // A PNG that moves: one frame of its own beside the picture.
  const std::string moves = png_chunk("acTL", be(1, 4) + be(0, 4));
  expect_whole(head + moves + one + two + end, "a PNG that moves");
  expect_whole(head + one + two + end + "more", "something behind it");
  expect_damaged(head + one + png_pieces(1)[2] + end, "bad CRC of the pixels");
  expect_damaged(head + one + two.substr(0, two.size() - 100), "cut");
  expect_damaged(head + one, "cut between chunks");
  expect_damaged(head + one + text.substr(0, 14), "cut in a text");
  expect_damaged(head + one + end, "a chunk left out");
}

TEST(Picture, ABitmapIsJudgedByItsPixelsNotBySaidSize) {
  for (const std::size_t size : {0U, 60U, 90U, 92U, 4000U}) {
    const std::string name = "size " + std::to_string(size);
    expect_whole(bmp(size), name);
    EXPECT_EQ(parse_picture(bytes(bmp(size)), name).span<std::uint8_t>().back(), 77);
    expect_damaged(bmp(size).substr(0, 80), name);
  }
}

TEST(Picture, OneWithoutPixelsIsCalledSo) {
  using namespace std::string_literals;
  const std::string png =
      "\x89PNG\r\n\x1A\n\0\0\0\x0DIHDR\0\0\0\0\0\0\0\0\x08\2\0\0\0\xB4\xE9\xEB"
      "E\0\0\0\x08IDAT\x78\x9C\3\0\0\0\0\1H\6\x89\xD2\0\0\0\0IEND\xAE"
      "B`\x82"s;
  expect_error(ErrorCode::kFormat, "expected a picture that has pixels, found one of 0x0", [&] {
    (void)parse_picture(bytes(png), "p");
  });
}

TEST(Clip, FramesThatAreTakenAreWhole) {
  const std::string whole = avi(4, 4);
  EXPECT_EQ(parse_clip(bytes(whole), "v.avi", 4).total, 4);
  const std::string cut = whole.substr(0, whole.size() - 40);
  expect_error(ErrorCode::kFormat,
               "[v.avi] expected whole frames, found frame 3 of 4 damaged",
               [&] { (void)parse_clip(bytes(cut), "v.avi", 2); });
  const Clip others = parse_clip(bytes(cut), "v.avi", 3, {}, {.first = 0, .every = 1});
  EXPECT_EQ(others.damaged, 0);
  EXPECT_EQ(others.frames.span<std::uint8_t>()[2 * 96], 20);
}

TEST(Clip, WhatTheHeaderPromisesIsCounted) {
  const Clip clip = parse_clip(bytes(avi(4, 40)), "v.avi", 4);
  EXPECT_EQ(clip.total, 4);
  EXPECT_EQ(clip.promised, 40);
  expect_error(ErrorCode::kFormat, "found none of the 40 that the header promises", [] {
    (void)parse_clip(bytes(avi(0, 40)), "v.avi", 4);
  });
}

TEST(Clip, FramesThatAreLeftOutAreNoDamage) {
  std::vector<std::string> frames(8, std::string(96, '\x20'));
  frames[3].clear();  // AVI: the one before stays
  frames[7].clear();
  const Clip clip = parse_clip(bytes(avi_of(frames, 8, "DIB ")), "v.avi", 4);
  EXPECT_EQ(clip.total, 6);
  EXPECT_EQ(clip.promised, 8);
  EXPECT_EQ(clip.damaged, 0);
}

TEST(Clip, FramesAreSpreadFromFirstToLast) {
  const Clip clip = parse_clip(bytes(y4m(21)), "v.y4m", 5);
  ASSERT_EQ(clip.frames.shape(), (Shape{5, 4, 8, 3}));
  EXPECT_EQ(clip.total, 21);
  for (std::size_t n = 0; n < 5; ++n) {
    EXPECT_NEAR(clip.seconds[n], static_cast<double>(5 * n) / 25.0, 1e-9);
    const int level = clip.frames.span<std::uint8_t>()[n * 96];
    EXPECT_NEAR(level, 50 * static_cast<double>(n) * 255 / 219, 1.01);
  }
}

TEST(Clip, FramesMayFollowEachOther) {
  const auto times = [](std::int64_t first, std::int64_t every) {
    const Clip clip = parse_clip(bytes(y4m(21)), "v.y4m", 4, {}, {first, every});
    std::vector<int> out;
    for (const double s : clip.seconds) out.push_back(static_cast<int>(std::lround(25.0 * s)));
    return out;
  };
  EXPECT_EQ(times(7, 1), (std::vector<int>{7, 8, 9, 10}));
  EXPECT_EQ(times(0, 5), (std::vector<int>{0, 5, 10, 15}));
  EXPECT_EQ(times(18, 2), (std::vector<int>{18, 20, 20, 20}));  // it ends there
  EXPECT_EQ(times(20, std::int64_t{1} << 62), (std::vector<int>{20, 20, 20, 20}));
  expect_error(ErrorCode::kRange, "below 21, found 21", [&] { (void)times(21, 1); });
  expect_error(ErrorCode::kRange, "every 1 or more", [&] { (void)times(0, 0); });
}

TEST(Clip, AShortVideoRepeatsFramesAndAPictureStandsStill) {
  const Clip two = parse_clip(bytes(y4m(2)), "v.y4m", 4);
  const auto level = [&](std::size_t n) { return two.frames.span<std::uint8_t>()[n * 96]; };
  EXPECT_EQ(level(0), level(1));
  EXPECT_LT(level(1), level(2));
  EXPECT_EQ(level(2), level(3));
  const Clip still = parse_clip(bytes(ppm(6, 4)), "p.ppm", 3);
  EXPECT_EQ(still.frames.shape(), (Shape{3, 4, 6, 3}));
}

TEST(Clip, AVideoThatGoesOnIsRefused) {
  MediaLimits limits;
  limits.most_frames = 50;
  expect_error(ErrorCode::kResources, "at most 50 frames", [&] {
    (void)parse_clip(bytes(y4m(51)), "v", 4, limits);
  });
  limits = {};
  limits.most_decoded = 32 * 10;
  expect_error(ErrorCode::kResources, "320 pixels in all", [&] {
    (void)parse_clip(bytes(y4m(20)), "v", 4, limits);
  });
  limits = {};
  limits.most_bytes = 96 * 3;
  expect_error(
      ErrorCode::kResources, "together", [&] { (void)parse_clip(bytes(y4m(20)), "v", 4, limits); });
  expect_error(ErrorCode::kResources, "100000x100000", [] {
    (void)parse_clip(bytes("YUV4MPEG2 W100000 H100000 F25:1 C444\nFRAME\n"), "v", 4);
  });
}

TEST(Clip, ACutVideoGivesWhatIsThere) {
  const std::string whole = y4m(10);
  const Clip clip = parse_clip(bytes(whole.substr(0, whole.size() - 40)), "cut.y4m", 4);
  EXPECT_EQ(clip.frames.dim(0), 4);
  expect_error(
      ErrorCode::kFormat, "[cut]", [&] { (void)parse_clip(bytes(whole.substr(0, 40)), "cut", 4); });
}

TEST(Sound, WaveFilesOfCodingsOfTheirOwnGoToFfmpeg) {
  // mu-law: 0xFF is silence, 0x80 the loudest positive.
  std::string data(400, '\xFF');
  data[200] = '\x80';
  const std::string file = "RIFF" + le(36 + data.size(), 4) + "WAVEfmt " + le(16, 4) + le(7, 2) +
                           le(1, 2) + le(8000, 4) + le(8000, 4) + le(1, 2) + le(8, 2) + "data" +
                           le(data.size(), 4) + data;
  const Audio audio = parse_audio(bytes(file), "u.wav");
  EXPECT_EQ(audio.rate, 8000);
  ASSERT_EQ(audio.samples.size(), 400U);
  EXPECT_NEAR(audio.samples[200], 32124.0 / 32768.0, 1e-4);
  EXPECT_EQ(audio.samples[10], 0.0F);
  expect_error(ErrorCode::kFormat, "expected sound, found text", [] {
    (void)parse_audio(bytes("text"), "t");
  });
}

#endif

}  // namespace
}  // namespace headscope
