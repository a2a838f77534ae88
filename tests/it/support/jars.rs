//! Fetches the jars of Apache Kafka with Maven.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const KAFKA: &str = "4.3.1";
/// The version of log4j among Kafka's own dependencies.
const LOG4J: &str = "2.25.4";

const POM: &str = r"
<project>
  <modelVersion>4.0.0</modelVersion>
  <groupId>koobridge</groupId> <artifactId>kafka-for-tests</artifactId> <version>1</version>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId> <artifactId>kafka_2.13</artifactId>
      <version>${kafka}</version>
    </dependency>
    <dependency>
      <groupId>org.apache.kafka</groupId> <artifactId>kafka-tools</artifactId>
      <version>${kafka}</version>
    </dependency>
    <dependency>
      <groupId>org.apache.logging.log4j</groupId> <artifactId>log4j-slf4j-impl</artifactId>
      <version>${log4j}</version>
    </dependency>
  </dependencies>
</project>";

/// Renames the directory when it is complete, so that a directory with this name is always complete.
pub fn fetch_jars(home: &Path) -> PathBuf {
    let jars = home.join(format!("libs-{KAFKA}"));
    if !jars.exists() {
        let part = home.join("run-fetch");
        fs::create_dir(&part).expect("the target directory is writable");
        fs::write(part.join("pom.xml"), POM).expect("the new directory is writable");
        let fetched = Command::new("mvn")
            .args(["-B", "-q", "dependency:copy-dependencies"])
            .arg("-DoutputDirectory=libs")
            .args([format!("-Dkafka={KAFKA}"), format!("-Dlog4j={LOG4J}")])
            .current_dir(&part)
            .output();
        match fetched {
            Ok(output) if output.status.success() => {}
            failed => panic!(
                "these tests need a JDK 17 or later, Maven (mvn) and a Maven repository: {failed:?}"
            ),
        }
        fs::rename(part.join("libs"), &jars).expect("one directory to another name");
    }
    jars
}
