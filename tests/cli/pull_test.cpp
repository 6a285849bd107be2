#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "cli/screen.h"
#include "formats/hub.h"
#include "formats/hub_server.h"
#include "formats/scratch.h"

// The binary itself: models that come from elsewhere, and what it says of those that are there.
namespace headscope::cli {
namespace {

namespace fs = std::filesystem;

const std::string kCommit = "0123456789abcdef0123456789abcdef01234567";
const std::string kConfig = "{\"model_type\": \"x\"}\n";
const std::string kConfigHash = "f891060d5b6dcb5fc89976e6cb12aed4f98ea8f2";

struct Outcome {
  int status = -1;
  std::string out, complaint;
};

std::string slurp(const fs::path& path) {
  std::ostringstream out;
  out << std::ifstream(path, std::ios::binary).rdbuf();
  return out.str();
}

void write(const fs::path& path, const std::string& text) {
  fs::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary) << text;
}

class Pull : public ::testing::Test {
 protected:
  [[nodiscard]] std::string environment(const std::string& endpoint) const {
    return "env -u LC_ALL -u LANG -u HF_TOKEN -u HF_HUB_CACHE no_proxy=127.0.0.1 HF_ENDPOINT=" +
           endpoint + " HF_HOME='" + (scratch_ / "hf").string() + "' ";
  }
  [[nodiscard]] Outcome run(const std::string& arguments, const std::string& endpoint = "") const {
    const std::string command = "cd '" + scratch_.path().string() + "' && " +
                                environment(endpoint) + " '" HEADSCOPE_BINARY_DIR "/headscope' " +
                                arguments + " >out.txt 2>err.txt";
    const int raw = std::system(command.c_str());
    return {WIFEXITED(raw) ? WEXITSTATUS(raw) : -1,
            slurp(scratch_ / "out.txt"),
            slurp(scratch_ / "err.txt")};
  }
  // A copy of the planted model in the cache.
  void cache_planted(const std::string& name) const {
    const fs::path folder = scratch_ / "hf" / "hub" / ("models--org--" + name);
    write(folder / "refs" / "main", kCommit);
    fs::create_directories(folder / "snapshots");
    fs::copy(fs::path(HEADSCOPE_BINARY_DIR) / "models" / "planted",
             folder / "snapshots" / kCommit,
             fs::copy_options::recursive);
  }

  Scratch scratch_;
};

LocalServer::Reply answer(const LocalServer::Request& request) {
  if (request.path == "/api/models/org/name/revision/main")
    return {200, {}, R"({"sha": ")" + kCommit + R"("})"};
  if (request.path.find("/tree/") != std::string::npos) {
    return {200,
            {},
            R"([{"type": "file", "path": "config.json", "size": )" +
                std::to_string(kConfig.size()) + R"(, "oid": ")" + kConfigHash + "\"}]"};
  }
  if (request.path.ends_with("/config.json")) return {200, {}, kConfig};
  return {404, {}, ""};
}

TEST_F(Pull, StatusesAndWordsAreThoseOfTheOtherVerbs) {
  if (!hub::can_pull()) {
    EXPECT_EQ(run("pull org/name").status, 3);
    GTEST_SKIP() << "this build has no libcurl or no OpenSSL";
  }
  LocalServer server(answer);
  const Outcome good = run("pull org/name --file config.json --json", server.url());
  ASSERT_EQ(good.status, 0) << good.complaint;
  EXPECT_EQ(good.complaint, "");
  const auto json = nlohmann::json::parse(good.out);
  EXPECT_EQ(json.at("commit"), kCommit);
  EXPECT_EQ(slurp(fs::path(json.at("folder").get<std::string>()) / "config.json"), kConfig);
  const Outcome again = run("pull org/name --file config.json --lang ru", server.url());
  EXPECT_EQ(again.status, 0);
  EXPECT_NE(again.out.find("0 B"), std::string::npos) << again.out;
  for (const auto& [arguments, status] :
       std::vector<std::pair<std::string, int>>{{"pull", 2},
                                                {"pull a b", 2},
                                                {"pull ../x", 2},
                                                {"pull org/name --revision ../x", 2},
                                                {"pull org/name --file confg.json", 3},
                                                {"pull org/name", 3},
                                                {"pull org/other", 3}}) {
    const Outcome bad = run(arguments, server.url());
    EXPECT_EQ(bad.status, status) << arguments << '\n' << bad.complaint;
    EXPECT_EQ(bad.out, "");
    EXPECT_EQ(std::count(bad.complaint.begin(), bad.complaint.end(), '\n'), 1) << bad.complaint;
  }
}

TEST_F(Pull, AnInterruptLeavesWhatCameForTheNextCall) {
  std::atomic<bool> slow{true};
  if (!hub::can_pull()) GTEST_SKIP() << "this build has no libcurl or no OpenSSL";
  LocalServer server([&](const LocalServer::Request& request) {
    LocalServer::Reply reply = answer(request);
    if (!request.path.ends_with("/config.json")) return reply;
    if (slow) {
      reply.cut = 5;  // and then nothing for a while
      reply.stall = &slow;
    } else if (request.header("range") == "bytes=5-") {
      reply.status = 206;
      reply.headers = {{"Content-Range", "bytes 5-" + std::to_string(kConfig.size() - 1) + "/*"}};
      reply.body = kConfig.substr(5);
    }
    return reply;
  });
  const fs::path partial =
      scratch_ / "hf" / "hub" / "models--org--name" / "blobs" / (kConfigHash + ".incomplete");
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    ::setenv("no_proxy", "127.0.0.1", 1);
    ::setenv("HF_ENDPOINT", server.url().c_str(), 1);
    ::setenv("HF_HOME", (scratch_ / "hf").c_str(), 1);
    ::unsetenv("HF_HUB_CACHE");
    ::execl(HEADSCOPE_BINARY_DIR "/headscope",
            "headscope",
            "pull",
            "org/name",
            "--file",
            "config.json",
            static_cast<char*>(nullptr));
    ::_exit(127);
  }
  std::error_code ignored;
  for (int i = 0; i < 200 && (!fs::exists(partial) || fs::file_size(partial, ignored) < 5); ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(25));
  ::kill(child, SIGINT);
  int raw = 0;
  ASSERT_EQ(::waitpid(child, &raw, 0), child);
  slow = false;
  ASSERT_TRUE(WIFEXITED(raw));
  EXPECT_EQ(WEXITSTATUS(raw), 130);
  EXPECT_EQ(slurp(partial), kConfig.substr(0, 5));
  const Outcome rest = run("pull org/name --file config.json --json", server.url());
  ASSERT_EQ(rest.status, 0) << rest.complaint;
  EXPECT_EQ(nlohmann::json::parse(rest.out).at("fetched_bytes"), kConfig.size() - 5);
}

TEST_F(Pull, ModelsListsTheCacheAndBrokenEntriesWithTheirReason) {
  cache_planted("good");
  write(scratch_ / "hf" / "hub" / "models--org--odd" / "refs" / "main", kCommit);
  write(scratch_ / "hf" / "hub" / "models--org--odd" / "snapshots" / kCommit / "config.json",
        R"({"model_type": "no_such_family"})");
  fs::create_directories(scratch_ / "hf" / "hub" / "models--org--empty");
  write(scratch_ / "bad.gguf", "GGUFxxxx");
  const Outcome listed = run("models --json");
  ASSERT_EQ(listed.status, 0) << listed.complaint;
  const auto json = nlohmann::json::parse(listed.out);
  ASSERT_EQ(json.at("cache").size(), 3U);
  const auto& empty = json.at("cache")[0];
  const auto& good = json.at("cache")[1];
  const auto& odd = json.at("cache")[2];
  EXPECT_EQ(good.at("name"), "org/good");
  EXPECT_TRUE(good.at("runs").get<bool>()) << good;
  const auto& models = json.at("models");
  const auto planted = std::find_if(
      models.begin(), models.end(), [](const auto& m) { return m.at("name") == "planted"; });
  ASSERT_NE(planted, models.end());
  EXPECT_EQ(good.at("layers"), planted->at("layers"));
  EXPECT_EQ(good.at("parameters"), planted->at("parameters"));
  EXPECT_EQ(odd.at("family"), "no_such_family");
  EXPECT_FALSE(odd.at("runs").get<bool>());
  EXPECT_NE(odd.at("problem").get<std::string>().find("no_such_family"), std::string::npos);
  EXPECT_NE(empty.at("problem").get<std::string>().find("headscope pull org/empty"),
            std::string::npos);
  ASSERT_EQ(json.at("here").size(), 1U);
  EXPECT_NE(json.at("here")[0].at("problem"), "");
  for (const std::string lang : {"en", "ru"}) {
    const Outcome table = run("models --lang " + lang);
    EXPECT_EQ(table.status, 0);
    EXPECT_NE(table.out.find("org/good"), std::string::npos);
    std::istringstream lines(table.out);
    for (std::string line; std::getline(lines, line);) EXPECT_LE(columns(line), 80) << line;
  }
}

TEST_F(Pull, WhatWasFetchedIsFoundByItsName) {
  cache_planted("good");
  const Outcome see = run("see org/good \"The old king\" --json");
  ASSERT_EQ(see.status, 0) << see.complaint;
  EXPECT_EQ(run("see org/other \"The old king\"").status, 3);
}

}  // namespace
}  // namespace headscope::cli
