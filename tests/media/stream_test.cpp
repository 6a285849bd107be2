// Videos coded here by FFmpeg: with B-frames, which a decoder gives in another order than it gets them, and of pictures.
#include <gtest/gtest.h>

#ifdef HEADSCOPE_MEDIA

extern "C" {
#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
}

#include <algorithm>
#include <array>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "headscope/error.h"
#include "headscope/media.h"

namespace headscope {
namespace {

constexpr int kWidth = 64, kHeight = 48, kFrames = 22;
constexpr std::size_t kBytes = std::size_t{3} * kWidth * kHeight;
constexpr AVRational kFrame = {1, 25};  // seconds
constexpr std::array kCoders = {AV_CODEC_ID_MPEG4, AV_CODEC_ID_MPEG2VIDEO};
constexpr std::array kPictureCoders = {AV_CODEC_ID_MJPEG, AV_CODEC_ID_PNG};

bool of_pictures(AVCodecID id) {
  return std::ranges::find(kPictureCoders, id) != kPictureCoders.end();
}

AVPixelFormat format_of(AVCodecID id) {
  if (id == AV_CODEC_ID_PNG) return AV_PIX_FMT_GRAY8;
  return id == AV_CODEC_ID_MJPEG ? AV_PIX_FMT_YUVJ420P : AV_PIX_FMT_YUV420P;
}

struct Free {
  void operator()(AVCodecContext* p) const { avcodec_free_context(&p); }
  void operator()(AVFrame* p) const { av_frame_free(&p); }
  void operator()(AVPacket* p) const { av_packet_free(&p); }
  void operator()(AVFormatContext* p) const {
    std::uint8_t* left = nullptr;
    if (p->pb != nullptr) avio_close_dyn_buf(p->pb, &left);
    av_free(left);
    avformat_free_context(p);
  }
};
template <typename T>
using Owned = std::unique_ptr<T, Free>;

void check(int result) {
  if (result < 0) throw std::runtime_error("FFmpeg: " + std::to_string(result));
}

// Groups of nine frames, two B-frames between others: sent as 0 3 1 2 6 4 5 9 ..., and 0, 9 and 18
// are made from no other.
Owned<AVCodecContext> open_coder(AVCodecID id) {
  const AVCodec* coder = avcodec_find_encoder(id);
  Owned<AVCodecContext> out(avcodec_alloc_context3(coder));
  out->width = kWidth;
  out->height = kHeight;
  out->pix_fmt = format_of(id);
  out->time_base = kFrame;
  out->framerate = {kFrame.den, kFrame.num};
  out->gop_size = 9;
  out->max_b_frames = of_pictures(id) ? 0 : 2;
  out->thread_count = 1;
  out->global_quality = 4 * FF_QP2LAMBDA;
  out->flags |= AV_CODEC_FLAG_GLOBAL_HEADER | AV_CODEC_FLAG_QSCALE | AV_CODEC_FLAG_BITEXACT;
  AVDictionary* options = nullptr;  // frames of another light are no new scene
  av_dict_set(&options, "sc_threshold", "1000000000", 0);
  const int opened = avcodec_open2(out.get(), coder, &options);
  av_dict_free(&options);
  check(opened);
  return out;
}

// A grey texture, lighter than that of the frame before.
Owned<AVFrame> picture(AVPixelFormat format, int n) {
  Owned<AVFrame> out(av_frame_alloc());
  out->format = format;
  out->width = kWidth;
  out->height = kHeight;
  check(av_frame_get_buffer(out.get(), 0));
  out->pts = n;
  out->quality = 4 * FF_QP2LAMBDA;
  for (int y = 0; y < kHeight; ++y) {
    for (int x = 0; x < kWidth; ++x) {
      const unsigned grain = static_cast<unsigned>(y * kWidth + x) * 2654435761U >> 27U;
      out->data[0][y * out->linesize[0] + x] =
          static_cast<std::uint8_t>(40U + 6U * static_cast<unsigned>(n) + grain);
    }
  }
  for (int plane = 1; plane < 3 && out->data[plane] != nullptr; ++plane)
    std::fill_n(out->data[plane], out->linesize[plane] * kHeight / 2, std::uint8_t{128});
  return out;
}

struct Video {
  std::string file;
  std::vector<std::int64_t> sent;  // frames in the order of the file
};

// Of `cuts` frames from `cut` on half of what codes them is left.
Video video(AVCodecID id, std::int64_t cut = -1, std::int64_t cuts = 1) {
  const Owned<AVCodecContext> coder = open_coder(id);
  AVFormatContext* made = nullptr;
  check(avformat_alloc_output_context2(&made, nullptr, "mp4", nullptr));
  const Owned<AVFormatContext> format(made);
  AVStream* stream = avformat_new_stream(made, nullptr);
  check(avcodec_parameters_from_context(stream->codecpar, coder.get()));
  stream->time_base = kFrame;
  made->flags |= AVFMT_FLAG_BITEXACT;
  check(avio_open_dyn_buf(&made->pb));
  check(avformat_write_header(made, nullptr));
  Video out;
  const Owned<AVPacket> packet(av_packet_alloc());
  for (int n = 0; n <= kFrames; ++n) {
    const Owned<AVFrame> frame = n < kFrames ? picture(coder->pix_fmt, n) : nullptr;
    check(avcodec_send_frame(coder.get(), frame.get()));
    while (avcodec_receive_packet(coder.get(), packet.get()) == 0) {
      out.sent.push_back(packet->pts);
      if (cut >= 0 && packet->pts >= cut && packet->pts < cut + cuts)
        av_shrink_packet(packet.get(), packet->size / 2);
      packet->duration = 1;
      av_packet_rescale_ts(packet.get(), kFrame, stream->time_base);
      check(av_write_frame(made, packet.get()));
      av_packet_unref(packet.get());
    }
  }
  check(av_write_trailer(made));
  std::uint8_t* bytes = nullptr;
  const int size = avio_close_dyn_buf(std::exchange(made->pb, nullptr), &bytes);
  out.file.assign(reinterpret_cast<const char*>(bytes), static_cast<std::size_t>(size));
  av_free(bytes);
  return out;
}

// `count` frames that follow each other.
Clip frames_of(const Video& video, std::int64_t first, std::int64_t count) {
  const auto file = std::as_bytes(std::span(video.file));
  return parse_clip(file, "v.mp4", count, {}, {.first = first, .every = 1});
}

std::span<const std::uint8_t> pixels(const Clip& clip, std::size_t n) {
  return clip.frames.span<std::uint8_t>().subspan(n * kBytes, kBytes);
}

void expect_damaged(const std::string& words, const Video& video, std::int64_t n, std::int64_t k) {
  try {
    (void)frames_of(video, n, k);
    FAIL() << "no error for frame " << n;
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kFormat) << error.what();
    EXPECT_EQ(std::string(error.what()).find("[v.mp4] expected whole frames, found " + words), 0U)
        << error.what();
  }
}

class Coded : public testing::TestWithParam<AVCodecID> {
 protected:
  void SetUp() override {
    if (avcodec_find_encoder(GetParam()) == nullptr) GTEST_SKIP() << "FFmpeg has no such coder";
  }
};

using BFrames = Coded;
using Pictures = Coded;

TEST_P(BFrames, AreReadInTheOrderOfTime) {
  const Video whole = video(GetParam());
  ASSERT_EQ(whole.sent.size(), std::size_t{kFrames});
  ASSERT_FALSE(std::is_sorted(whole.sent.begin(), whole.sent.end()));
  const Clip clip = frames_of(whole, 0, kFrames);
  EXPECT_EQ(clip.total, kFrames);
  EXPECT_EQ(clip.damaged, 0);
  ASSERT_EQ(clip.frames.shape(), (Shape{kFrames, kHeight, kWidth, 3}));
  for (std::size_t n = 0; n < kFrames; ++n) {
    EXPECT_NEAR(clip.seconds[n], static_cast<double>(n) / 25.0, 1e-9);
    double level = 0.0;
    for (const std::uint8_t x : pixels(clip, n)) level += x;
    // The grain is 15.5 on average, and black is 16.
    const double expected = (40 + 6 * static_cast<double>(n) + 15.5 - 16) * 255 / 219;
    EXPECT_NEAR(level / kBytes, expected, 3.0) << n;
  }
}

// Frame 12 is sent, and damaged, before 10 and 11, which are made from it, and while the decoder
// still holds back 9, which is not. The damage ends with 18.
TEST_P(BFrames, ThoseMadeFromADamagedFrameAreDamaged) {
  const Video whole = video(GetParam());
  const Video cut = video(GetParam(), 12);
  const auto place = [&](std::int64_t n) { return std::ranges::find(cut.sent, n); };
  ASSERT_LT(place(9), place(12));
  ASSERT_LT(place(12), place(10));
  expect_damaged("frame ", cut, 0, kFrames);
  for (std::int64_t n = 10; n < 18; ++n)
    expect_damaged("frame " + std::to_string(n) + " of 22 damaged or cut off", cut, n, 1);
  const Clip expected = frames_of(whole, 0, kFrames);
  for (const auto& [first, end] : {std::pair{0, 9}, {18, kFrames}}) {
    const Clip clip = frames_of(cut, first, end - first);
    for (int n = first; n < end; ++n) {
      EXPECT_TRUE(std::ranges::equal(pixels(clip, static_cast<std::size_t>(n - first)),
                                     pixels(expected, static_cast<std::size_t>(n))))
          << n;
    }
  }
}

// A damaged one may give no frame at all: those behind it keep their numbers.
TEST_P(Pictures, ADamagedOneIsDamagedAlone) {
  const Clip expected = frames_of(video(GetParam()), 0, kFrames);
  const Video cut = video(GetParam(), 12);
  for (const auto& [first, count] : {std::pair{12, 1}, {0, kFrames}, {12, 3}})
    expect_damaged("frame 12 of 22 damaged or cut off", cut, first, count);
  for (int n = 0; n < kFrames; ++n) {
    if (n == 12) continue;
    const Clip clip = frames_of(cut, n, 1);
    EXPECT_EQ(clip.damaged, n > 12 ? 1 : 0) << n;
    EXPECT_NEAR(clip.seconds[0], n / 25.0, 1e-9);
    EXPECT_TRUE(std::ranges::equal(pixels(clip, 0), pixels(expected, static_cast<std::size_t>(n))))
        << n;
  }
}

TEST_P(Pictures, DamagedOnesAtTheEndAreRefusedByTheirOwnNumbers) {
  const Video cut = video(GetParam(), kFrames - 2, 2);
  expect_damaged("frame 20 of 22 damaged or cut off", cut, kFrames - 2, 1);
  expect_damaged("frame 20 of 22 damaged or cut off", cut, 0, kFrames);
  expect_damaged("frame 21 of 22 damaged or cut off", cut, kFrames - 1, 1);
  EXPECT_EQ(frames_of(cut, kFrames - 3, 1).frames.dim(0), 1);
}

INSTANTIATE_TEST_SUITE_P(Stream, BFrames, testing::ValuesIn(kCoders), [](const auto& coder) {
  return std::string(avcodec_get_name(coder.param));
});
INSTANTIATE_TEST_SUITE_P(Stream,
                         Pictures,
                         testing::ValuesIn(kPictureCoders),
                         [](const auto& coder) {
                           return std::string(avcodec_get_name(coder.param));
                         });

}  // namespace
}  // namespace headscope

#endif
