#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>

#include <cstdlib>

#include "formats/hub.h"
#include "formats/hub_server.h"
#include "formats/scratch.h"
#include "headscope/safetensors.h"

namespace headscope::hub {
namespace {

namespace fs = std::filesystem;

const std::string kCommit = "0123456789abcdef0123456789abcdef01234567";
// sha256sum and git hash-object of the contents below.
const std::string kConfig = "{\"model_type\": \"x\"}\n";
const std::string kConfigHash = "f891060d5b6dcb5fc89976e6cb12aed4f98ea8f2";
std::string weights() {
  std::string out;
  for (int i = 0; i < 60'000; ++i) out += std::to_string(i) + ' ';
  return out;
}
const std::string kWeightsHash = "ec07678666269fec89f39d122be92031d781152b2e47f657d65e682871cf5b41";

using Request = LocalServer::Request;
using Reply = LocalServer::Reply;

// A hub with one model; what `special` answers (status not 0) comes first.
Reply hub(const Request& request, const std::function<Reply(const Request&)>& special) {
  if (Reply reply = special(request); reply.status != 0) return reply;
  if (request.path == "/api/models/org/name/revision/main")
    return {200, {}, R"({"sha": ")" + kCommit + R"("})"};
  if (request.path == "/api/models/org/name/tree/" + kCommit + "?recursive=true") {
    return {200,
            {},
            R"([{"type": "directory", "path": "x", "oid": "0", "size": 0},
                {"type": "file", "path": "config.json", "size": )" +
                std::to_string(kConfig.size()) + R"(, "oid": ")" + kConfigHash +
                R"("}, {"type": "file", "path": "model.safetensors", "size": 134, "oid":
                "1111111111111111111111111111111111111111", "lfs": {"oid": ")" +
                kWeightsHash + R"(", "size": )" + std::to_string(weights().size()) + "}}]"};
  }
  const std::string files = "/org/name/resolve/" + kCommit + '/';
  if (request.path == files + "config.json") return {200, {}, kConfig};
  if (request.path == files + "model.safetensors") {
    const std::string range = request.header("range");
    if (range.empty()) return {200, {{"ETag", "\"w\""}}, weights()};
    const std::size_t from = std::stoul(range.substr(6));
    return {206,
            {{"ETag", "\"w\""},
             {"Content-Range",
              "bytes " + std::to_string(from) + "-" + std::to_string(weights().size() - 1) + "/" +
                  std::to_string(weights().size())}},
            weights().substr(from)};
  }
  return {404, {}, "none"};
}

Reply pass() {
  Reply out;
  out.status = 0;
  return out;
}

bool is_weights(const Request& request) { return request.path.ends_with("model.safetensors"); }

class HubPull : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!can_pull()) GTEST_SKIP() << "this build has no libcurl or no OpenSSL";
    ::setenv("no_proxy", "127.0.0.1,localhost", 1);
  }

  Settings settings(const LocalServer& server) const {
    Settings out;
    out.endpoint = server.url();
    out.cache = scratch_.path();
    out.patience_s = 0.01;
    out.stall_s = 2;
    return out;
  }
  [[nodiscard]] fs::path blob(const std::string& name) const {
    return scratch_ / "models--org--name" / "blobs" / name;
  }
  void expect_whole(const Pulled& pulled) const {
    EXPECT_EQ(read_file(pulled.folder / "config.json", 1 << 20), kConfig);
    EXPECT_EQ(read_file(pulled.folder / "model.safetensors", 1 << 24), weights());
    EXPECT_TRUE(fs::is_symlink(pulled.folder / "model.safetensors"));
    EXPECT_EQ(fs::canonical(pulled.folder / "model.safetensors"),
              fs::canonical(blob(kWeightsHash)));
    EXPECT_EQ(read_file(scratch_ / "models--org--name" / "refs" / "main", 100), kCommit);
    EXPECT_FALSE(fs::exists(blob(kWeightsHash + ".incomplete")));
  }
  // What a pull complains of; nothing may stand under its final name then.
  std::pair<ErrorCode, std::string> complaint(const Settings& with,
                                              const PullOptions& options = {}) const {
    try {
      (void)pull(with, "org/name", options);
    } catch (const Error& error) {
      EXPECT_FALSE(fs::exists(blob(kWeightsHash)));
      EXPECT_FALSE(fs::exists(scratch_ / "models--org--name" / "snapshots"));
      EXPECT_FALSE(fs::exists(scratch_ / "models--org--name" / "refs"));
      return {error.code(), error.what()};
    }
    return {ErrorCode::kInternal, "no error"};
  }

  Scratch scratch_;
};

TEST_F(HubPull, FetchesOnceAndFindsItAgain) {
  LocalServer server(
      [](const Request& r) { return hub(r, [](const Request&) { return pass(); }); });
  Progress last;
  const Pulled pulled =
      pull(settings(server), "org/name", {}, [&](const Progress& p) { last = p; });
  expect_whole(pulled);
  EXPECT_EQ(last.done, last.total);
  EXPECT_EQ(pulled.fetched, kConfig.size() + weights().size());
  EXPECT_EQ(snapshot(settings(server), "org/name"), pulled.folder);
  const Pulled again = pull(settings(server), "org/name", {});
  EXPECT_EQ(again.fetched, 0U);
  expect_whole(again);
}

TEST_F(HubPull, GoesOnAfterDrops) {
  std::atomic<int> drops{0};
  LocalServer server([&](const Request& r) {
    Reply reply = hub(r, [](const Request&) { return pass(); });
    if (is_weights(r) && drops++ < 4) reply.cut = 50'000;
    return reply;
  });
  const Pulled pulled = pull(settings(server), "org/name", {});
  expect_whole(pulled);
  EXPECT_EQ(pulled.fetched, kConfig.size() + weights().size()) << "no byte came twice";
  std::vector<std::string> ranges;
  for (const Request& r : server.seen()) {
    if (is_weights(r) && !r.header("range").empty()) {
      ranges.push_back(r.header("range"));
      EXPECT_EQ(r.header("if-range"), "\"w\"");
    }
  }
  EXPECT_EQ(ranges,
            (std::vector<std::string>{
                "bytes=50000-", "bytes=100000-", "bytes=150000-", "bytes=200000-"}));
}

TEST_F(HubPull, GoesOnInAnotherCall) {
  std::atomic<bool> works{false};
  LocalServer server([&](const Request& r) {
    Reply reply = hub(r, [](const Request&) { return pass(); });
    if (is_weights(r) && !works) {
      if (r.header("range").empty()) {
        reply.cut = 70'000;
      } else {
        return Reply{503, {{"Retry-After", "0"}}, "later"};
      }
    }
    return reply;
  });
  EXPECT_EQ(complaint(settings(server)).first, ErrorCode::kIo);
  EXPECT_EQ(fs::file_size(blob(kWeightsHash + ".incomplete")), 70'000U);
  works = true;
  const Pulled pulled = pull(settings(server), "org/name", {});
  expect_whole(pulled);
  EXPECT_EQ(pulled.fetched, weights().size() - 70'000);
}

TEST_F(HubPull, AServerThatIgnoresRangesStartsAgain) {
  std::atomic<int> calls{0};
  LocalServer server([&](const Request& r) {
    if (!is_weights(r)) return hub(r, [](const Request&) { return pass(); });
    Reply reply{200, {}, weights()};
    if (calls++ == 0) reply.cut = 1000;
    return reply;
  });
  expect_whole(pull(settings(server), "org/name", {}));
}

TEST_F(HubPull, WrongBytesNeverGetTheirName) {
  LocalServer server([](const Request& r) {
    Reply reply = hub(r, [](const Request&) { return pass(); });
    if (is_weights(r)) reply.body[1234] ^= 1;
    return reply;
  });
  const auto [code, what] = complaint(settings(server));
  EXPECT_EQ(code, ErrorCode::kFormat);
  EXPECT_NE(what.find("SHA-256 " + kWeightsHash), std::string::npos) << what;
  EXPECT_NE(what.find("model.safetensors"), std::string::npos) << what;
}

TEST_F(HubPull, AWrongRestOfAnEarlierCallIsFetchedAnew) {
  LocalServer server(
      [](const Request& r) { return hub(r, [](const Request&) { return pass(); }); });
  fs::create_directories(blob("x").parent_path());
  write_file(blob(kWeightsHash + ".incomplete"), std::string(5000, 'x'));
  expect_whole(pull(settings(server), "org/name", {}));
}

TEST_F(HubPull, MoreBytesThanPromisedAreCutOff) {
  LocalServer server([](const Request& r) {
    Reply reply = hub(r, [](const Request&) { return pass(); });
    reply.endless = is_weights(r);
    return reply;
  });
  EXPECT_EQ(complaint(settings(server)).first, ErrorCode::kFormat);
  LocalServer talker([](const Request&) {
    Reply reply{200, {}, std::string(1 << 20, '[')};
    reply.endless = true;
    return reply;
  });
  EXPECT_EQ(complaint(settings(talker)).first, ErrorCode::kFormat);
}

TEST_F(HubPull, TheTokenStaysWithItsHost) {
  LocalServer other([](const Request& r) {
    return is_weights(r) ? Reply{200, {}, weights()} : Reply{404, {}, ""};
  });
  LocalServer server([&](const Request& r) {
    return hub(r, [&](const Request& q) {
      if (!is_weights(q)) return pass();
      if (q.path.starts_with("/moved/"))
        return Reply{307, {{"Location", other.url() + q.path}}, ""};
      return Reply{302, {{"Location", "/moved/model.safetensors"}}, ""};
    });
  });
  Settings with = settings(server);
  with.token = "hf_secret";
  expect_whole(pull(with, "org/name", {}));
  for (const Request& r : server.seen()) EXPECT_EQ(r.header("authorization"), "Bearer hf_secret");
  ASSERT_EQ(other.seen().size(), 1U);
  EXPECT_EQ(other.seen()[0].headers.count("authorization"), 0U);
}

TEST_F(HubPull, RedirectsEnd) {
  LocalServer server([](const Request&) { return Reply{302, {{"Location", "/again"}}, ""}; });
  EXPECT_EQ(complaint(settings(server)).first, ErrorCode::kFormat);
  EXPECT_LT(server.seen().size(), 20U);
  LocalServer file([](const Request&) {
    return Reply{302, {{"Location", "file:///etc/passwd"}}, ""};
  });
  EXPECT_EQ(complaint(settings(file)).first, ErrorCode::kFormat);
}

TEST_F(HubPull, StatusesBecomeErrorsThatSayWhatToDo) {
  const auto with_status = [&](int status, const std::string& token) {
    LocalServer server([=](const Request&) { return Reply{status, {}, "{}"}; });
    Settings with = settings(server);
    with.token = token;
    auto out = complaint(with);
    EXPECT_EQ(server.seen().size(), 1U) << "not worth another try: " << status;
    return out;
  };
  EXPECT_EQ(with_status(404, "").first, ErrorCode::kNotFound);
  const auto [code, what] = with_status(401, "");
  EXPECT_EQ(code, ErrorCode::kInput);
  EXPECT_NE(what.find("HF_TOKEN"), std::string::npos) << what;
  EXPECT_EQ(with_status(403, "hf_x").first, ErrorCode::kInput);
  EXPECT_EQ(with_status(403, "hf_x").second.find("hf_x"), std::string::npos);
}

TEST_F(HubPull, ABusyServerIsAskedAgainWhenItSays) {
  std::atomic<int> calls{0};
  LocalServer server([&](const Request& r) {
    return hub(r, [&](const Request& q) {
      return is_weights(q) && calls++ < 2 ? Reply{429, {{"Retry-After", "0"}}, "slow"} : pass();
    });
  });
  expect_whole(pull(settings(server), "org/name", {}));
  EXPECT_EQ(calls, 3);
}

TEST_F(HubPull, AServerThatStaysBrokenIsGivenUp) {
  LocalServer broken([](const Request&) { return Reply{500, {}, ""}; });
  EXPECT_EQ(complaint(settings(broken)).first, ErrorCode::kIo);
  EXPECT_EQ(broken.seen().size(), 6U);
}

TEST_F(HubPull, ListingsComeInPages) {
  std::string url;
  LocalServer server([&](const Request& r) {
    return hub(r, [&](const Request& q) {
      if (q.path.ends_with("&cursor=2")) {
        return Reply{200,
                     {},
                     R"([{"type": "file", "path": "more.txt", "size": )" +
                         std::to_string(kConfig.size()) + R"(, "oid": ")" + kConfigHash + "\"}]"};
      }
      if (!q.path.ends_with("?recursive=true")) {
        return q.path.ends_with("more.txt") ? Reply{200, {}, kConfig} : pass();
      }
      Reply page{200, {{"Link", "<" + url + q.path + "&cursor=2>; rel=\"next\""}}, "[]"};
      return page;
    });
  });
  url = server.url();
  const Pulled pulled = pull(settings(server), "org/name", {"main", {"more.txt"}});
  EXPECT_EQ(read_file(pulled.folder / "more.txt", 100), kConfig);
}

TEST_F(HubPull, AHostileListingWritesNothing) {
  LocalServer server([](const Request& r) {
    return hub(r, [](const Request& q) {
      if (q.path.find("/tree/") == std::string::npos) return pass();
      return Reply{200,
                   {},
                   R"([{"type": "file", "path": "../../../x", "size": 1,
                        "oid": "0123456789abcdef0123456789abcdef01234567"}])"};
    });
  });
  EXPECT_EQ(complaint(settings(server)).first, ErrorCode::kFormat);
  EXPECT_EQ(scratch_.files(), 0);
}

TEST_F(HubPull, AFullDiskIsSaidAndWhatCameStays) {
  LocalServer server(
      [](const Request& r) { return hub(r, [](const Request&) { return pass(); }); });
  // A limit on the size of files stands for a disk that is full at that point.
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = ::signal(SIGXFSZ, SIG_IGN);
  const rlimit small{100'000, before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const auto [code, what] = complaint(settings(server));
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  ::signal(SIGXFSZ, handler);
  EXPECT_EQ(code, ErrorCode::kIo);
  EXPECT_NE(what.find("cannot write"), std::string::npos) << what;
  EXPECT_EQ(fs::file_size(blob(kWeightsHash + ".incomplete")), 100'000U);
  const Pulled pulled = pull(settings(server), "org/name", {});
  expect_whole(pulled);
  EXPECT_EQ(pulled.fetched, weights().size() - 100'000);
}

TEST_F(HubPull, NobodyThereAndOfflineAreSaid) {
  std::string gone;
  {
    LocalServer server([](const Request&) { return Reply{}; });
    gone = server.url();
  }
  Settings with;
  with.endpoint = gone;
  with.cache = scratch_.path();
  with.patience_s = 0.001;
  EXPECT_EQ(complaint(with).first, ErrorCode::kIo);
  with.offline = true;
  EXPECT_EQ(complaint(with).first, ErrorCode::kUnsupported);
  with.offline = false;
  with.endpoint = "ftp://x";
  EXPECT_EQ(complaint(with).first, ErrorCode::kUsage);
  EXPECT_THROW((void)pull(with, "../x", {}), Error);
  EXPECT_THROW((void)pull(with, "org/name", {"../x", {}}), Error);
}

}  // namespace
}  // namespace headscope::hub
